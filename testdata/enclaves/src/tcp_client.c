/* "tcp_client ADDRESS TEXT": connects, sends TEXT and a newline, and prints
   what comes back until a newline or the end. "tcp_client ADDRESS" expects that
   nobody listens there. */
#include "eos_edp.h"

int enclave_main(int argc, char **argv)
{
	if (argc < 2)
		panic("usage: tcp_client ADDRESS [TEXT]");
	struct byte_buffer *local = host_alloc(sizeof *local, 8), *peer = host_alloc(sizeof *peer, 8);
	*local = *peer = (struct byte_buffer){NULL, 0};
	u64 len = strlen(argv[1]);
	u8 *address = host_copy(argv[1], len);
	struct pair r = uc_connect_stream(address, len, local, peer);
	if (argc == 2) {
		CHECK_EQ(r.first, E_CONNECTION_REFUSED);
		CHECK_EQ(r.second, 0);
		CHECK_EQ(local->len | peer->len, 0);
		print("refused\n");
		return 0;
	}
	if (r.first)
		panic("connect_stream gave 0x%lx", r.first);
	u64 fd = r.second;
	CHECK(fd > 2);
	struct byte_buffer p = *(volatile struct byte_buffer *)peer, l = *(volatile struct byte_buffer *)local;
	CHECK(p.len > 0 && p.len < 128 && is_host_range(p.data, p.len));
	CHECK(l.len > 0 && l.len < 128 && is_host_range(l.data, l.len));
	print("connected to ");
	write_all(1, p.data, p.len);
	print("\n");
	host_free(p.data, p.len, 1);
	host_free(l.data, l.len, 1);

	/* At once: the other side may answer before it reads on. */
	char line[1024];
	u64 n = format(line, sizeof line, "%s\n", argv[2]);
	CHECK(n <= sizeof line);
	write_all(fd, line, n);
	CHECK_PAIR(uc_flush(fd), 0, 0);
	u8 *host = host_alloc(4096, 1);
	for (;;) {
		r = uc_read(fd, host, 4096);
		CHECK_EQ(r.first, 0);
		if (r.second == 0)
			break;
		write_all(1, host, r.second);
		if (host[r.second - 1] == '\n')
			break;
	}
	CHECK_PAIR(uc_close(fd), 0, 0);

	/* Also without buffers for the addresses. */
	r = uc_connect_stream(address, len, NULL, NULL);
	CHECK_EQ(r.first, 0);
	CHECK(r.second > fd);
	CHECK_PAIR(uc_close(r.second), 0, 0);
	print("done\n");
	return 0;
}
