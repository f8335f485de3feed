/* An echo server: "tcp_server ADDRESS CONNECTIONS". Says "listening ADDRESS",
   then serves that many connections, one after the other, until each is at its
   end. */
#include "eos_edp.h"

/* Takes the text out of a buffer that the host has filled. */
static void take_text(struct byte_buffer *b, char *text, u64 cap)
{
	struct byte_buffer got = *(volatile struct byte_buffer *)b;
	CHECK(got.len > 0 && got.len < cap);
	CHECK(is_host_range(got.data, got.len));
	memcpy(text, got.data, got.len);
	text[got.len] = 0;
	host_free(got.data, got.len, 1);
	*b = (struct byte_buffer){NULL, 0};
}

int enclave_main(int argc, char **argv)
{
	if (argc != 3)
		panic("usage: tcp_server ADDRESS CONNECTIONS");
	struct byte_buffer *local = host_alloc(sizeof *local, 8), *peer = host_alloc(sizeof *peer, 8);
	*local = *peer = (struct byte_buffer){NULL, 0};
	char local_text[128], peer_text[128];
	u64 len = strlen(argv[1]);
	u8 *address = host_copy(argv[1], len);

	struct pair r = uc_bind_stream(address, len, local);
	if (r.first)
		panic("bind_stream gave 0x%lx", r.first);
	u64 listener = r.second;
	CHECK(listener > 2);
	take_text(local, local_text, sizeof local_text);
	print("listening %s\n", local_text);

	u8 *host = host_alloc(65536, 1);
	CHECK_PAIR(uc_read(listener, host, 1), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_write(listener, host, 1), E_INVALID_INPUT, 0);

	u64 newest = listener;
	for (u64 n = parse_u64(argv[2]); n > 0; n--) {
		r = uc_accept_stream(listener, local, peer);
		CHECK_EQ(r.first, 0);
		CHECK(r.second > newest); /* a number is never used again */
		newest = r.second;
		take_text(local, local_text, sizeof local_text);
		take_text(peer, peer_text, sizeof peer_text);
		u64 fd = r.second, total = 0;
		CHECK_PAIR(uc_accept_stream(fd, NULL, NULL), E_INVALID_INPUT, 0);
		for (;;) {
			r = uc_read(fd, host, 65536);
			CHECK_EQ(r.first, 0);
			if (r.second == 0)
				break;
			total += r.second;
			for (u64 done = 0, all = r.second; done < all; done += r.second) {
				r = uc_write(fd, host + done, all - done);
				CHECK_EQ(r.first, 0);
				CHECK(r.second > 0 && r.second <= all - done);
			}
		}
		CHECK_PAIR(uc_flush(fd), 0, 0);
		CHECK_PAIR(uc_close(fd), 0, 0);
		CHECK_PAIR(uc_read(fd, host, 1), E_BROKEN_PIPE, 0);
		print("served %lu bytes\n", total);
	}
	CHECK_PAIR(uc_close(listener), 0, 0);
	CHECK(uc_accept_stream(listener, NULL, NULL).first != 0);

	/* The address is free again, without a buffer for it as well. */
	r = uc_bind_stream(address, len, NULL);
	CHECK_EQ(r.first, 0);
	CHECK_PAIR(uc_close(r.second), 0, 0);
	print("done\n");
	return 0;
}
