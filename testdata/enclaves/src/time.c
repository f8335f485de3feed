/* insecure_time: it moves on, a sleep shows in it, and the frequency of the
   TSC is told or not. */
#include "eos_edp.h"

int enclave_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	struct pair a = uc_insecure_time();
	CHECK_PAIR(uc_wait(0, 20000000), E_TIMED_OUT, 0);
	struct pair b = uc_insecure_time();
	CHECK(b.first - a.first >= 19000000);
	for (int i = 0; i < 1000; i++) {
		struct pair c = uc_insecure_time();
		CHECK(c.first >= b.first);
		b = c;
	}
	print("seconds %lu\n", b.first / 1000000000);
	if (b.second == 0) {
		print("info none\n");
		return 0;
	}
	CHECK(is_host_range((void *)b.second, sizeof(struct insecure_time_info)));
	struct insecure_time_info info = *(struct insecure_time_info *)b.second;
	CHECK_EQ(info.version, 0);
	CHECK(info.frequency > 100000000);
	print("info %lu Hz\n", info.frequency);
	return 0;
}
