/* Every usercall with good and with odd arguments, each result checked against
   the ABI. Standard input must be "input\n" and then end of file. Streams to
   addresses are in tcp_server and tcp_client, threads in threads, queues in
   async. */
#include "eos_edp.h"

#define UNKNOWN_FD 12345

static void check_alloc(void)
{
	static const u64 aligns[] = {1, 2, 8, 16, 64, 4096, 1 << 16};
	for (unsigned i = 0; i < sizeof aligns / sizeof *aligns; i++)
		for (u64 size = 1; size <= 1 << 20; size = size * 7 + 1) {
			u8 *p = host_alloc(size, aligns[i]);
			p[0] = p[size - 1] = 0xa5;
			/* The alignment of free need not be that of alloc. */
			host_free(p, size, i % 2 ? 1 : aligns[i]);
		}
	CHECK_PAIR(uc_alloc(0, 1), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_alloc(16, 0), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_alloc(16, 3), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_alloc(16, 48), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_alloc(1ull << 63, 1), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_alloc(~0ull, 1), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_alloc(~0ull >> 1, 4096), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_alloc(1ull << 62, 1), E_OTHER, 0);
	CHECK_PAIR(uc_free(NULL, 0, 1), 0, 0);
	CHECK_PAIR(uc_free((void *)0x1000, 0, 1), 0, 0);

	/* Many at once, freed in another order: none may overlap. */
	u8 *p[200];
	for (u64 i = 0; i < 200; i++)
		memset(p[i] = host_alloc(100 + i, 8), (int)i, 100 + i);
	for (u64 i = 0; i < 200; i++) {
		u64 k = i * 77 % 200;
		for (u64 b = 0; b < 100 + k; b++)
			CHECK_EQ(p[k][b], (u8)k);
		host_free(p[k], 100 + k, 1);
	}
	print("ok alloc free\n");
}

static void check_streams(void)
{
	u8 *host = host_alloc(100, 8);

	CHECK_PAIR(uc_read(UNKNOWN_FD, host, 100), E_BROKEN_PIPE, 0);
	CHECK_PAIR(uc_read(1, host, 100), E_BROKEN_PIPE, 0);
	CHECK_PAIR(uc_read(2, host, 100), E_BROKEN_PIPE, 0);
	CHECK_PAIR(uc_read(0, NULL, 1), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_read(~0ull, host, 1), E_BROKEN_PIPE, 0);

	u64 got = 0;
	while (got < 6) {
		struct pair r = uc_read(0, host + got, 100 - got);
		CHECK_EQ(r.first, 0);
		CHECK(r.second > 0 && r.second <= 6 - got);
		got += r.second;
	}
	CHECK(memcmp(host, "input\n", 6) == 0);
	CHECK_PAIR(uc_read(0, host, 100), 0, 0); /* end of file, again and again */
	CHECK_PAIR(uc_read(0, host, 100), 0, 0);

	struct byte_buffer *b = host_alloc(sizeof *b, 8);
	*b = (struct byte_buffer){host, 5};
	CHECK_PAIR(uc_read_alloc(0, b), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_read_alloc(0, NULL), E_INVALID_INPUT, 0);
	*b = (struct byte_buffer){NULL, 77};
	CHECK_PAIR(uc_read_alloc(UNKNOWN_FD, b), E_BROKEN_PIPE, 0);
	*b = (struct byte_buffer){NULL, 77};
	CHECK_PAIR(uc_read_alloc(0, b), 0, 0); /* end of file */
	CHECK_EQ(b->len, 0);
	host_free(b, sizeof *b, 8);
	print("ok read read_alloc\n");

	memcpy(host, "ok write\n", 9);
	CHECK_PAIR(uc_write(1, host, 9), 0, 9);
	CHECK_PAIR(uc_write(1, host, 0), 0, 0);
	CHECK_PAIR(uc_write(1, NULL, 0), 0, 0);
	CHECK_PAIR(uc_write(1, NULL, 1), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_write(0, host, 9), E_BROKEN_PIPE, 0);
	CHECK_PAIR(uc_write(UNKNOWN_FD, host, 9), E_BROKEN_PIPE, 0);
	memcpy(host, "to stderr\n", 10);
	CHECK_PAIR(uc_write(2, host, 10), 0, 10);

	CHECK_PAIR(uc_flush(1), 0, 0);
	CHECK_PAIR(uc_flush(2), 0, 0);
	CHECK_PAIR(uc_flush(UNKNOWN_FD), E_BROKEN_PIPE, 0);
	CHECK_PAIR(uc_close(UNKNOWN_FD), 0, 0);
	CHECK_PAIR(uc_close(~0ull), 0, 0);
	CHECK_PAIR(uc_close(0), 0, 0);
	CHECK_PAIR(uc_close(0), 0, 0);
	CHECK_PAIR(uc_read(0, host, 1), E_BROKEN_PIPE, 0);
	host_free(host, 100, 8);
	print("ok flush close\n");
}

static void check_addresses(void)
{
	struct byte_buffer *local = host_alloc(sizeof *local, 8), *peer = host_alloc(sizeof *peer, 8);
	u8 *bad = host_copy("\xff\xfe:1", 4), *text = host_copy("no address", 10);

	*local = *peer = (struct byte_buffer){NULL, 99};
	CHECK_PAIR(uc_bind_stream(bad, 4, local), E_CONNECTION_REFUSED, 0);
	CHECK_EQ(local->len, 0);
	CHECK_PAIR(uc_bind_stream(NULL, 4, NULL), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_connect_stream(bad, 4, local, peer), E_CONNECTION_REFUSED, 0);
	CHECK_PAIR(uc_connect_stream(NULL, 4, local, peer), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_connect_stream(NULL, 0, local, peer), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_connect_stream(text, 10, local, peer), E_INVALID_INPUT, 0);
	CHECK_EQ(local->len, 0);
	CHECK_EQ(peer->len, 0);
	CHECK_PAIR(uc_accept_stream(1, local, peer), E_INVALID_INPUT, 0);
	CHECK(uc_accept_stream(UNKNOWN_FD, NULL, NULL).first != 0);
	host_free(bad, 4, 1);
	host_free(text, 10, 1);
	host_free(local, sizeof *local, 8);
	host_free(peer, sizeof *peer, 8);
	print("ok bind_stream accept_stream connect_stream\n");
}

static void check_rest(void)
{
	CHECK_PAIR(uc_send(0, 0), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_send(16, 0), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_send(EV_UNPARK, this_tcs() + 1), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_wait(16, WAIT_NO), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_wait(0, WAIT_NO), E_WOULD_BLOCK, 0);
	print("ok wait send\n");

	struct pair a = uc_insecure_time(), b = uc_insecure_time();
	CHECK(a.first > 1700000000ull * 1000000000 && b.first >= a.first);
	CHECK(is_host_range((void *)a.second, sizeof(struct insecure_time_info)));
	CHECK_EQ(a.second, b.second);
	print("ok insecure_time\n");

	CHECK_PAIR(uc_async_queues(NULL, NULL, NULL), E_INVALID_INPUT, 0);
	struct fifo_descriptor *q = host_alloc(sizeof *q, 8);
	CHECK_PAIR(uc_async_queues(q, NULL, NULL), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_async_queues(NULL, q, NULL), E_INVALID_INPUT, 0);
	host_free(q, sizeof *q, 8);
	print("ok async_queues\n");
}

int enclave_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	check_alloc();
	check_streams();
	check_addresses();
	check_rest();
	print("done\n");
	return 0;
}
