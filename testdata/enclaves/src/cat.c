/* Copies standard input to standard output and says to standard error how many
   bytes. The argument is the size of the buffer, 65536 without. With a second
   argument it uses read_alloc. */
#include "eos_edp.h"

static void put_all(const u8 *host, u64 len)
{
	for (u64 done = 0; done < len;) {
		struct pair r = uc_write(1, host + done, len - done);
		CHECK_EQ(r.first, 0);
		CHECK(r.second > 0 && r.second <= len - done);
		done += r.second;
	}
}

int enclave_main(int argc, char **argv)
{
	u64 size = argc > 1 ? parse_u64(argv[1]) : 65536, total = 0;
	char text[64];
	if (argc > 2) {
		struct byte_buffer *b = host_alloc(sizeof *b, 8);
		for (;;) {
			*b = (struct byte_buffer){NULL, 0};
			CHECK_PAIR(uc_read_alloc(0, b), 0, 0);
			struct byte_buffer got = *(volatile struct byte_buffer *)b;
			if (got.len == 0)
				break;
			CHECK(got.len <= 8192);
			CHECK(is_host_range(got.data, got.len));
			put_all(got.data, got.len);
			host_free(got.data, got.len, 1);
			total += got.len;
		}
	} else {
		u8 *host = host_alloc(size, 1);
		for (;;) {
			struct pair r = uc_read(0, host, size);
			CHECK_EQ(r.first, 0);
			if (r.second == 0)
				break;
			CHECK(r.second <= size);
			put_all(host, r.second);
			total += r.second;
		}
		host_free(host, size, 1);
	}
	CHECK_EQ(uc_flush(1).first, 0);
	write_all(2, text, format(text, sizeof text, "%lu bytes\n", total));
	return 0;
}
