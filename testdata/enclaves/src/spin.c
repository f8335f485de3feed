/* Says "spinning" and then spins for ever, with N threads more if there is an
   argument. Only the host can end it. */
#include "eos_edp.h"

struct pair enclave_thread(void)
{
	for (;;)
		cpu_relax();
}

int enclave_main(int argc, char **argv)
{
	for (u64 n = argc > 1 ? parse_u64(argv[1]) : 0; n > 0; n--)
		CHECK_PAIR(uc_launch_thread(), 0, 0);
	print("spinning\n");
	enclave_thread();
	return 1;
}
