/* Eight threads beside main: launched until none is left, a game of ping-pong
   with each, and each TCS used again with its thread word kept. Wants nine
   TCSs. */
#include "eos_edp.h"

#define THREADS 8
#define ROUNDS 500

static struct {
	u64 tcs;
	u32 ready, pings, pongs;
} slots[THREADS];
static u32 next_slot, finished, phase;
static u32 lock, entries; /* lock guards entries */

/* Sleeps until a word differs. An event may be left over from before, so the
   word decides. */
static u32 wait_change(u32 *word, u32 from)
{
	u32 v;
	while ((v = __atomic_load_n(word, __ATOMIC_SEQ_CST)) == from) {
		struct pair r = uc_wait(EV_UNPARK, WAIT_INDEFINITE);
		CHECK_EQ(r.first, 0);
		CHECK_EQ(r.second, EV_UNPARK);
	}
	return v;
}

static void wake(u64 tcs) { CHECK_PAIR(uc_send(EV_UNPARK, tcs), 0, 0); }

static u64 main_tcs;

struct pair enclave_thread(void)
{
	if (thread_word() == 0) {
		u32 i = __atomic_fetch_add(&next_slot, 1, __ATOMIC_SEQ_CST);
		CHECK(i < THREADS);
		slots[i].tcs = this_tcs();
		set_thread_word(i + 1);
	}
	u32 i = (u32)thread_word() - 1;
	CHECK_EQ(slots[i].tcs, this_tcs());
	spin_lock(&lock);
	entries++;
	spin_unlock(&lock);
	if (__atomic_load_n(&phase, __ATOMIC_SEQ_CST) == 0) {
		__atomic_store_n(&slots[i].ready, 1, __ATOMIC_SEQ_CST);
		wake(main_tcs);
		for (u32 n = 0; n < ROUNDS; n++) {
			CHECK_EQ(wait_change(&slots[i].pings, n), n + 1);
			__atomic_store_n(&slots[i].pongs, n + 1, __ATOMIC_SEQ_CST);
			wake(main_tcs);
		}
	}
	__atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
	wake(main_tcs);
	return (struct pair){0, 0};
}

int enclave_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	main_tcs = this_tcs();
	u32 launched = 0;
	struct pair r;
	while ((r = uc_launch_thread()).first == 0) {
		CHECK_EQ(r.second, 0);
		launched++;
	}
	CHECK_EQ(r.first, E_WOULD_BLOCK);
	CHECK_EQ(r.second, 0);
	CHECK_EQ(launched, THREADS);
	for (u32 i = 0; i < THREADS; i++)
		wait_change(&slots[i].ready, 0);
	print("launched %u\n", launched);

	for (u32 n = 0; n < ROUNDS; n++) {
		for (u32 i = 0; i < THREADS; i++) {
			__atomic_store_n(&slots[i].pings, n + 1, __ATOMIC_SEQ_CST);
			wake(slots[i].tcs);
		}
		for (u32 i = 0; i < THREADS; i++)
			CHECK_EQ(wait_change(&slots[i].pongs, n), n + 1);
	}
	while (__atomic_load_n(&finished, __ATOMIC_SEQ_CST) != THREADS)
		CHECK_EQ(uc_wait(EV_UNPARK, WAIT_INDEFINITE).first, 0);
	print("ping-pong %u\n", ROUNDS);

	/* A thread has said that it is finished a moment before its TCS is free. */
	__atomic_store_n(&phase, 1, __ATOMIC_SEQ_CST);
	for (u32 n = 0; n < 4 * THREADS; n++) {
		u32 before = __atomic_load_n(&finished, __ATOMIC_SEQ_CST);
		while ((r = uc_launch_thread()).first == E_WOULD_BLOCK)
			uc_wait(0, 100000);
		CHECK_EQ(r.first, 0);
		wait_change(&finished, before);
	}
	CHECK_EQ(entries, 5 * THREADS);
	CHECK_EQ(next_slot, THREADS);
	print("entered again %u\n", 4 * THREADS);
	return 0;
}
