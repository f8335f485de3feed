/* The queues of asynchronous usercalls. Without an argument it checks all of:
   form of the queues, many turns round each of them, a return queue that is
   full, streams, cancelling. Standard input must be "async input\n". "twice"
   asks for queues a second time, "exit N" exits asynchronously, "unknown"
   makes an unknown asynchronous usercall, "pending" ends while a usercall is
   under way, "no-cancel" asks for no cancel queue, "stuck" takes a slot and
   never fills it, "offsets" and "overrun" write offsets that cannot be. */
#include "eos_edp.h"

struct usercall {
	u64 id, nr, a1, a2, a3, a4;
};
struct result {
	u64 id, first, second;
};

static struct fifo_descriptor calls, returns, cancels; /* copies of our own */
static u64 next_id = 1;

/* Any usercall makes the host look at the queues. */
static void ring(void) { CHECK_EQ(uc_wait(0, WAIT_NO).first, E_WOULD_BLOCK); }

static u32 read_of(u64 offsets) { return (u32)offsets; }
static u32 write_of(u64 offsets) { return (u32)(offsets >> 32); }
static int is_full(u64 offsets, u64 len) { return ((write_of(offsets) - read_of(offsets)) & (2 * len - 1)) == len; }

/* Puts words into the next slot, the id last. Returns 0 if there is none. An
   offset counts modulo twice the length and names the slot last used. */
static int push(struct fifo_descriptor *q, const u64 *words, int count)
{
	u64 now = __atomic_load_n(q->offsets, __ATOMIC_SEQ_CST), next;
	do {
		CHECK(read_of(now) < 2 * q->len && write_of(now) < 2 * q->len);
		if (is_full(now, q->len))
			return 0;
		next = ((u64)write_of(now) + 1) % (2 * q->len) << 32 | read_of(now);
	} while (!__atomic_compare_exchange_n(q->offsets, &now, next, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	u64 *slot = (u64 *)q->data + (u64)count * (write_of(next) % q->len);
	for (int i = 1; i < count; i++)
		__atomic_store_n(slot + i, words[i], __ATOMIC_RELAXED);
	__atomic_store_n(slot, words[0], __ATOMIC_SEQ_CST);
	if (read_of(now) == write_of(now))
		ring();
	return 1;
}

static void submit(u64 id, u64 nr, u64 a1, u64 a2, u64 a3, u64 a4)
{
	struct usercall c = {id, nr, a1, a2, a3, a4};
	while (!push(&calls, (u64 *)&c, 6))
		CHECK_EQ(uc_wait(EV_USERCALLQ_NOT_FULL, WAIT_INDEFINITE).first, 0);
}

static void cancel(u64 id)
{
	while (!push(&cancels, &id, 1))
		CHECK_EQ(uc_wait(EV_CANCELQ_NOT_FULL, WAIT_INDEFINITE).first, 0);
	ring();
}

/* Takes the next result if there is one. */
static int take(struct result *r)
{
	u64 now = __atomic_load_n(returns.offsets, __ATOMIC_SEQ_CST);
	CHECK(read_of(now) < 2 * returns.len && write_of(now) < 2 * returns.len);
	if (read_of(now) == write_of(now))
		return 0;
	u32 next = (read_of(now) + 1) % (2 * returns.len);
	struct result *slot = (struct result *)returns.data + next % returns.len;
	while ((r->id = __atomic_load_n(&slot->id, __ATOMIC_SEQ_CST)) == 0)
		cpu_relax();
	r->first = __atomic_load_n(&slot->first, __ATOMIC_RELAXED);
	r->second = __atomic_load_n(&slot->second, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->id, 0, __ATOMIC_SEQ_CST);
	u64 after = __atomic_add_fetch(returns.offsets, (u64)next - read_of(now), __ATOMIC_SEQ_CST);
	if (is_full(now, returns.len) || ((write_of(after) - next + 1) & (2 * returns.len - 1)) == returns.len)
		ring();
	return 1;
}

static struct result await(u64 id)
{
	struct result r;
	while (!take(&r))
		CHECK_EQ(uc_wait(EV_RETURNQ_NOT_EMPTY, WAIT_INDEFINITE).first, 0);
	CHECK_EQ(r.id, id);
	return r;
}

static struct result call(u64 nr, u64 a1, u64 a2, u64 a3, u64 a4)
{
	u64 id = next_id++;
	submit(id, nr, a1, a2, a3, a4);
	return await(id);
}

#define CHECK_RESULT(call, want_first, want_second) \
	do { \
		struct result got_ = (call); \
		if (got_.first != (u64)(want_first) || got_.second != (u64)(want_second)) \
			panic("%s:%d: %s gave 0x%lx, 0x%lx, want 0x%lx, 0x%lx", __FILE_NAME__, __LINE__, #call, \
			      got_.first, got_.second, (u64)(want_first), (u64)(want_second)); \
	} while (0)

static void check_form(struct fifo_descriptor *copy, struct fifo_descriptor *host, u64 slot_size)
{
	*copy = *(volatile struct fifo_descriptor *)host;
	CHECK(copy->len > 0 && copy->len <= 1ull << 31 && (copy->len & (copy->len - 1)) == 0);
	CHECK(is_host_range(copy->data, copy->len * slot_size) && (u64)copy->data % 8 == 0);
	CHECK(is_host_range(copy->offsets, 8) && (u64)copy->offsets % 8 == 0);
	CHECK_EQ(__atomic_load_n(copy->offsets, __ATOMIC_SEQ_CST), 0);
	for (u64 i = 0; i < copy->len * slot_size / 8; i += slot_size / 8)
		CHECK_EQ(((u64 *)copy->data)[i], 0);
}

static void open_queues(int with_cancel)
{
	struct fifo_descriptor *host = host_alloc(3 * sizeof *host, 8);
	memset(host, 0, 3 * sizeof *host);
	CHECK_PAIR(uc_async_queues(host, host + 1, with_cancel ? host + 2 : NULL), 0, 0);
	check_form(&calls, host, sizeof(struct usercall));
	check_form(&returns, host + 1, sizeof(struct result));
	if (with_cancel)
		check_form(&cancels, host + 2, 8);
	host_free(host, 3 * sizeof *host, 8);
}

/* Many turns, one usercall after the other, then as many at once as fit. */
static void check_turns(void)
{
	u64 n = 3 * returns.len;
	for (u64 i = 0; i < n; i++)
		CHECK_RESULT(call(UC_CLOSE, ~0ull, 0, 0, 0), 0, 0);
	u64 first = next_id, taken = 0;
	struct result r;
	u8 *seen = heap_alloc(n, 1);
	CHECK(seen != NULL);
	for (u64 i = 0; i < n; i++) {
		submit(first + i, UC_CLOSE, ~0ull, 0, 0, 0);
		next_id++;
		while (i % 64 == 63 && take(&r)) {
			CHECK(r.id - first < n && !seen[r.id - first]++);
			taken++;
		}
	}
	for (; taken < n; taken++) {
		while (!take(&r))
			CHECK_EQ(uc_wait(EV_RETURNQ_NOT_EMPTY, WAIT_INDEFINITE).first, 0);
		CHECK(r.id - first < n && !seen[r.id - first]++);
		CHECK_EQ(r.first | r.second, 0);
	}
	CHECK(!take(&r));
	print("ok turns %lu\n", 2 * n);
}

/* Nothing is taken until the return queue is full and has been for a while;
   then every result must come, once. */
static void check_full(void)
{
	u64 n = returns.len + calls.len, first = next_id, pushed = 0;
	struct usercall c = {0, UC_CLOSE, ~0ull, 0, 0, 0};
	u8 *seen = heap_alloc(n, 1);
	struct result r;
	CHECK(seen != NULL);
	for (int patience = 100; pushed < n && patience > 0;) {
		c.id = first + pushed;
		if (push(&calls, (u64 *)&c, 6))
			pushed++;
		else if (uc_wait(EV_USERCALLQ_NOT_FULL, 10000000).first == E_TIMED_OUT)
			patience -= is_full(__atomic_load_n(returns.offsets, __ATOMIC_SEQ_CST), returns.len) ? 20 : 1;
	}
	CHECK(pushed >= returns.len);
	while (!is_full(__atomic_load_n(returns.offsets, __ATOMIC_SEQ_CST), returns.len))
		uc_wait(0, 1000000);
	uc_wait(0, 5000000);
	for (u64 taken = 0; taken < pushed; taken++) {
		while (!take(&r))
			CHECK_EQ(uc_wait(EV_RETURNQ_NOT_EMPTY, WAIT_INDEFINITE).first, 0);
		CHECK(r.id - first < pushed && !seen[r.id - first]++);
	}
	CHECK(!take(&r));
	next_id += n;
	print("ok full\n");
}

static void check_results(void)
{
	u8 *host = host_alloc(100, 8);
	memcpy(host, "ok async write\n", 15);
	CHECK_RESULT(call(UC_WRITE, 1, (u64)host, 15, 0), 0, 15);
	CHECK_RESULT(call(UC_FLUSH, 1, 0, 0, 0), 0, 0);
	CHECK_RESULT(call(UC_WRITE, 1, 0, 15, 0), E_INVALID_INPUT, 0);
	CHECK_RESULT(call(UC_READ, 12345, (u64)host, 15, 0), E_BROKEN_PIPE, 0);
	for (u64 got = 0; got < 12;) {
		struct result r = call(UC_READ, 0, (u64)host + got, 100 - got, 0);
		CHECK(r.first == 0 && r.second > 0 && r.second <= 12 - got);
		got += r.second;
		CHECK(got < 12 || memcmp(host, "async input\n", 12) == 0);
	}
	CHECK_RESULT(call(UC_READ, 0, (u64)host, 100, 0), 0, 0);

	struct result r = call(UC_ALLOC, 64, 8, 0, 0);
	CHECK(r.first == 0 && is_host_range((void *)r.second, 64));
	CHECK_RESULT(call(UC_FREE, r.second, 64, 8, 0), 0, 0);
	r = call(UC_INSECURE_TIME, 0, 0, 0, 0);
	CHECK(r.first > 1700000000ull * 1000000000);
	CHECK_RESULT(call(UC_SEND, 16, 0, 0, 0), E_INVALID_INPUT, 0);
	CHECK_RESULT(call(UC_WAIT, EV_UNPARK, 1000, 0, 0), E_OTHER, 0);

	/* Any id but 0 is an id. */
	static const u64 ids[] = {~0ull, 1ull << 63, 1ull << 32};
	for (int i = 0; i < 3; i++) {
		submit(ids[i], UC_FLUSH, 1, 0, 0, 0);
		CHECK_RESULT(await(ids[i]), 0, 0);
	}
	host_free(host, 100, 8);
	print("ok results\n");
}

static u64 listener;
static struct byte_buffer local;

/* A listener on an address that the system picks; local is its address. */
static void listen_somewhere(void)
{
	struct byte_buffer *b = host_alloc(sizeof *b, 8);
	u8 *any = host_copy("127.0.0.1:0", 11);
	*b = (struct byte_buffer){NULL, 0};
	struct result r = call(UC_BIND_STREAM, (u64)any, 11, (u64)b, 0);
	CHECK_EQ(r.first, 0);
	listener = r.second;
	local = *(volatile struct byte_buffer *)b;
	CHECK(local.len > 0 && is_host_range(local.data, local.len));
	host_free(any, 11, 1);
	host_free(b, sizeof *b, 8);
}

static void check_streams(void)
{
	u8 *host = host_alloc(64, 8);
	u64 a = next_id++, b = next_id++, c = next_id++;
	listen_somewhere();

	/* accept waits while connect runs; then a read waits while a write runs. */
	submit(a, UC_ACCEPT_STREAM, listener, 0, 0, 0);
	ring();
	struct pair here = uc_connect_stream(local.data, local.len, NULL, NULL);
	CHECK_EQ(here.first, 0);
	struct result there = await(a);
	CHECK_EQ(there.first, 0);
	CHECK(there.second != here.second);
	submit(b, UC_READ, there.second, (u64)host, 32, 0);
	ring();
	uc_wait(0, 5000000);
	memcpy(host + 32, "over the wire", 13);
	submit(c, UC_WRITE, here.second, (u64)host + 32, 13, 0);
	for (int i = 0; i < 2; i++) {
		struct result r;
		while (!take(&r))
			CHECK_EQ(uc_wait(EV_RETURNQ_NOT_EMPTY, WAIT_INDEFINITE).first, 0);
		CHECK(r.id == b || r.id == c);
		CHECK(r.first == 0 && r.second == 13);
	}
	CHECK(memcmp(host, "over the wire", 13) == 0);
	print("ok streams\n");

	/* A read and an accept that would never end, cancelled while they wait; then
	   usercall and cancel in one go. */
	for (int kind = 0; kind < 4; kind++) {
		u64 id = next_id++;
		if (kind % 2)
			submit(id, UC_ACCEPT_STREAM, listener, 0, 0, 0);
		else
			submit(id, UC_READ, there.second, (u64)host, 32, 0);
		if (kind < 2)
			uc_wait(0, 5000000);
		cancel(id);
		CHECK_RESULT(await(id), E_INTERRUPTED, 0);
	}
	/* Cancelling what is not there, or is over, does nothing. */
	cancel(next_id + 1000);
	cancel(a);
	for (u64 i = 0; i < 3 * cancels.len; i++)
		cancel(1ull << 40 | i);
	CHECK_RESULT(call(UC_FLUSH, 1, 0, 0, 0), 0, 0);

	/* The streams still work. */
	memcpy(host, "again", 5);
	CHECK_RESULT(call(UC_WRITE, there.second, (u64)host, 5, 0), 0, 5);
	CHECK_PAIR(uc_read(here.second, host, 32), 0, 5);

	/* The end of the stream ends a read that waits. */
	u64 id = next_id++;
	submit(id, UC_READ, there.second, (u64)host, 32, 0);
	ring();
	CHECK_PAIR(uc_close(here.second), 0, 0);
	CHECK_RESULT(await(id), 0, 0);
	CHECK_RESULT(call(UC_CLOSE, there.second, 0, 0, 0), 0, 0);
	CHECK_RESULT(call(UC_CLOSE, listener, 0, 0, 0), 0, 0);
	host_free(local.data, local.len, 1);
	host_free(host, 64, 8);
	print("ok cancel\n");
}

int enclave_main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	open_queues(strcmp(what, "no-cancel") != 0);
	if (strcmp(what, "twice") == 0)
		open_queues(1);
	else if (strcmp(what, "exit") == 0 || strcmp(what, "unknown") == 0) {
		if (what[0] == 'e')
			submit(1, UC_EXIT, parse_u64(argv[2]), 0, 0, 0);
		else
			submit(1, 0x1234, 0, 0, 0, 0);
		uc_wait(EV_RETURNQ_NOT_EMPTY, WAIT_INDEFINITE);
		panic("an answer came");
	} else if (strcmp(what, "pending") == 0) {
		listen_somewhere();
		submit(next_id++, UC_ACCEPT_STREAM, listener, 0, 0, 0);
		ring();
		uc_wait(0, 5000000);
		print("exit with an accept under way\n");
	} else if (strcmp(what, "stuck") == 0) {
		__atomic_store_n(calls.offsets, 1ull << 32, __ATOMIC_SEQ_CST);
		ring();
		uc_wait(0, 5000000);
		print("exit with a slot not filled\n");
	} else if (strcmp(what, "offsets") == 0) {
		__atomic_store_n(calls.offsets, 0xfffffffful << 32 | 0x12345678, __ATOMIC_SEQ_CST);
		for (;;)
			uc_wait(0, 1000000);
	} else if (strcmp(what, "overrun") == 0) { /* more slots in use than there are */
		__atomic_store_n(calls.offsets, (calls.len + 1) << 32, __ATOMIC_SEQ_CST);
		for (;;)
			uc_wait(0, 1000000);
	} else if (strcmp(what, "no-cancel") == 0) {
		CHECK_RESULT(call(UC_FLUSH, 1, 0, 0, 0), 0, 0);
		print("ok no cancel queue\n");
	} else {
		check_results();
		check_turns();
		check_full();
		check_streams();
		print("done\n");
	}
	return 0;
}
