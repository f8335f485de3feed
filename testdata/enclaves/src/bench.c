/* Usercalls in a loop, for the clock of the host: "null N" is N times
   wait(0, WAIT_NO), "write N [LEN]" N writes of LEN bytes (1) to fd 1, "alloc N"
   N pairs of alloc and free, "time N" N times insecure_time, "close N" N times
   close of no stream. Prints nothing. */
#include "eos_edp.h"

int enclave_main(int argc, char **argv)
{
	if (argc < 3)
		panic("usage: bench null|write|alloc|time|close N [LEN]");
	const char *what = argv[1];
	u64 n = parse_u64(argv[2]);
	if (strcmp(what, "null") == 0) {
		while (n-- > 0)
			CHECK_EQ(uc_wait(0, WAIT_NO).first, E_WOULD_BLOCK);
	} else if (strcmp(what, "write") == 0) {
		u64 len = argc > 3 ? parse_u64(argv[3]) : 1;
		u8 *host = host_alloc(len, 1);
		memset(host, '.', len);
		while (n-- > 0)
			CHECK_PAIR(uc_write(1, host, len), 0, len);
		host_free(host, len, 1);
	} else if (strcmp(what, "alloc") == 0) {
		while (n-- > 0)
			host_free(host_alloc(64, 8), 64, 1);
	} else if (strcmp(what, "time") == 0) {
		while (n-- > 0)
			CHECK(uc_insecure_time().first != 0);
	} else if (strcmp(what, "close") == 0) {
		while (n-- > 0)
			CHECK_PAIR(uc_close(~0ull), 0, 0);
	} else
		panic("no benchmark is called \"%s\"", what);
	return 0;
}
