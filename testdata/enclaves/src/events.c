/* The rules of events: a queue of sets for each TCS, wait by mask, order,
   timeouts. Wants two TCSs. */
#include "eos_edp.h"

#define Q EV_USERCALLQ_NOT_FULL
#define R EV_RETURNQ_NOT_EMPTY
#define U EV_UNPARK
#define C EV_CANCELQ_NOT_FULL
#define MS 1000000ull

static u64 main_tcs, other_tcs;
static u32 stage;

static void send_self(u64 set) { CHECK_PAIR(uc_send(set, this_tcs()), 0, 0); }

struct pair enclave_thread(void)
{
	other_tcs = this_tcs();
	__atomic_store_n(&stage, 1, __ATOMIC_SEQ_CST);
	CHECK_PAIR(uc_send(U, main_tcs), 0, 0);
	/* What main sends to all reaches both. */
	CHECK_PAIR(uc_wait(Q, WAIT_INDEFINITE), 0, Q);
	/* What was sent before it is asked for stays. */
	CHECK_PAIR(uc_wait(R, WAIT_INDEFINITE), 0, R);
	CHECK_PAIR(uc_send(U | C, main_tcs), 0, 0);
	return (struct pair){0, 0};
}

int enclave_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	main_tcs = this_tcs();

	/* Nothing there. */
	CHECK_PAIR(uc_wait(Q | R | U | C, WAIT_NO), E_WOULD_BLOCK, 0);
	CHECK_PAIR(uc_wait(0, WAIT_NO), E_WOULD_BLOCK, 0);
	CHECK_PAIR(uc_wait(16, WAIT_NO), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_wait(Q | 1ull << 63, 1), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_send(0, main_tcs), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_send(16, main_tcs), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_send(16, 0), E_INVALID_INPUT, 0);
	CHECK_PAIR(uc_send(U, main_tcs ^ 0x1000), E_INVALID_INPUT, 0);
	print("ok refusals\n");

	/* Any set that meets the mask counts, and the whole set comes. */
	send_self(U | C);
	CHECK_PAIR(uc_wait(Q | R, WAIT_NO), E_WOULD_BLOCK, 0);
	CHECK_PAIR(uc_wait(Q | U, WAIT_NO), 0, U | C);
	CHECK_PAIR(uc_wait(U, WAIT_NO), E_WOULD_BLOCK, 0);
	print("ok sets\n");

	/* The same set twice is two events. */
	send_self(U);
	send_self(U);
	CHECK_PAIR(uc_wait(U, WAIT_NO), 0, U);
	CHECK_PAIR(uc_wait(U, WAIT_INDEFINITE), 0, U);
	CHECK_PAIR(uc_wait(U, WAIT_NO), E_WOULD_BLOCK, 0);
	print("ok counts\n");

	/* Without waiting the highest set comes first, with waiting the lowest. */
	send_self(R), send_self(C), send_self(Q), send_self(U);
	CHECK_PAIR(uc_wait(Q | R | U | C, WAIT_NO), 0, C);
	CHECK_PAIR(uc_wait(Q | R | U | C, WAIT_INDEFINITE), 0, Q);
	CHECK_PAIR(uc_wait(R | U, WAIT_NO), 0, U);
	CHECK_PAIR(uc_wait(R | U, 1000 * MS), 0, R);
	CHECK_PAIR(uc_wait(Q | R | U | C, WAIT_NO), E_WOULD_BLOCK, 0);
	print("ok order\n");

	/* Timeouts. The clock can only be held to their lower bound. */
	u64 start = uc_insecure_time().first;
	CHECK_PAIR(uc_wait(U, 30 * MS), E_TIMED_OUT, 0);
	CHECK_PAIR(uc_wait(0, 30 * MS), E_TIMED_OUT, 0);
	CHECK(uc_insecure_time().first - start >= 59 * MS);
	CHECK_PAIR(uc_wait(U, 1), E_TIMED_OUT, 0);
	send_self(U);
	CHECK_PAIR(uc_wait(U, ~0ull - 1), 0, U); /* a timeout that is capped */
	print("ok timeouts\n");

	CHECK_PAIR(uc_launch_thread(), 0, 0);
	while (__atomic_load_n(&stage, __ATOMIC_SEQ_CST) == 0)
		CHECK_EQ(uc_wait(U, WAIT_INDEFINITE).first, 0);
	while (uc_wait(U, WAIT_NO).first == 0)
		;
	CHECK_PAIR(uc_send(R, other_tcs), 0, 0);
	CHECK_PAIR(uc_send(Q, 0), 0, 0);
	CHECK_PAIR(uc_wait(Q, WAIT_INDEFINITE), 0, Q);
	CHECK_PAIR(uc_wait(C, WAIT_INDEFINITE), 0, U | C);
	print("ok two threads\n");
	return 0;
}
