/* EREPORT and EGETKEY: a report about itself whose MAC it checks with its own
   report key, seal keys that are equal when they must be and differ when they
   must, error codes for requests that are wrong. An argument picks an operand
   that must fault. */
#include "sgx.h"

static u8 room[3 * 4096] __attribute__((aligned(4096)));

static struct sgx_keyrequest new_request(u16 name, u16 policy)
{
	struct sgx_keyrequest r;
	memset(&r, 0, sizeof r);
	r.keyname = name;
	r.keypolicy = policy;
	return r;
}

static void get_key(const struct sgx_keyrequest *r, u8 key[16])
{
	u8 aligned[16] __attribute__((aligned(16)));
	CHECK_EQ(sgx_egetkey(r, aligned), 0);
	memcpy(key, aligned, 16);
}

static int same_key(const struct sgx_keyrequest *a, const struct sgx_keyrequest *b)
{
	u8 x[16], y[16];
	get_key(a, x);
	get_key(b, y);
	return memcmp(x, y, 16) == 0;
}

static void check_cmac(void)
{
	/* RFC 4493, section 4: examples 1, 2 and 3. */
	static const u8 key[16] = {0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c};
	static const u8 m[40] = {0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93,
				 0x17, 0x2a, 0xae, 0x2d, 0x8a, 0x57, 0x1e, 0x03, 0xac, 0x9c, 0x9e, 0xb7, 0x6f, 0xac,
				 0x45, 0xaf, 0x8e, 0x51, 0x30, 0xc8, 0x1c, 0x46, 0xa3, 0x5c, 0xe4, 0x11};
	static const u8 want[3][16] = {
		{0xbb, 0x1d, 0x69, 0x29, 0xe9, 0x59, 0x37, 0x28, 0x7f, 0xa3, 0x7d, 0x12, 0x9b, 0x75, 0x67, 0x46},
		{0x07, 0x0a, 0x16, 0xb4, 0x6b, 0x4d, 0x41, 0x44, 0xf7, 0x9b, 0xdd, 0x9d, 0xd0, 0x4a, 0x28, 0x7c},
		{0xdf, 0xa6, 0x67, 0x47, 0xde, 0x9a, 0xe6, 0x30, 0x30, 0xca, 0x32, 0x61, 0x14, 0x97, 0xc8, 0x27},
	};
	static const size_t lens[3] = {0, 16, 40};
	for (int i = 0; i < 3; i++) {
		u8 mac[16];
		aes_cmac(key, m, lens[i], mac);
		CHECK(memcmp(mac, want[i], 16) == 0);
	}
}

static void check_report(struct sgx_report *report)
{
	u8 data[64], key[16], mac[16];
	for (int i = 0; i < 64; i++)
		data[i] = (u8)(i * 3 + 1);
	sgx_self_report(data, report);
	CHECK(memcmp(report->reportdata, data, 64) == 0);
	CHECK_EQ(report->flags & ~0xf6ull, 1); /* INIT, and only known flags */
	CHECK_EQ(report->flags & 4, 4);	       /* MODE64BIT */
	CHECK_EQ(report->xfrm & 3, 3);

	struct sgx_keyrequest r = new_request(KEY_REPORT, 0);
	memcpy(r.keyid, report->keyid, 32);
	get_key(&r, key);
	aes_cmac(key, report, offsetof(struct sgx_report, keyid), mac);
	CHECK(memcmp(mac, report->mac, 16) == 0);

	/* A report for somebody else must not pass as one for us. */
	struct sgx_targetinfo other;
	static u8 zeros[64] __attribute__((aligned(128)));
	struct sgx_report foreign;
	memset(&other, 0, sizeof other);
	memset(other.measurement, 0x5a, 32);
	other.flags = report->flags, other.xfrm = report->xfrm;
	sgx_ereport(&other, zeros, &foreign);
	memcpy(r.keyid, foreign.keyid, 32);
	get_key(&r, key);
	aes_cmac(key, &foreign, offsetof(struct sgx_report, keyid), mac);
	CHECK(memcmp(mac, foreign.mac, 16) != 0);
	CHECK(memcmp(foreign.mrenclave, report->mrenclave, 32) == 0);
	print("ok report\n");
}

static void check_keys(const struct sgx_report *report)
{
	u8 key[16] __attribute__((aligned(16))), before[16];
	struct sgx_keyrequest a = new_request(KEY_SEAL, POLICY_MRENCLAVE), b;
	memcpy(a.cpusvn, report->cpusvn, 16);
	a.isvsvn = report->isvsvn;
	a.flags_mask = ~0ull;

	b = a;
	CHECK(same_key(&a, &b));
	b.keyid[31] = 1;
	CHECK(!same_key(&a, &b));
	b = a, b.keypolicy = POLICY_MRSIGNER;
	CHECK(!same_key(&a, &b));
	b = a, b.keypolicy = POLICY_MRENCLAVE | POLICY_MRSIGNER;
	CHECK(!same_key(&a, &b));
	b = a, b.flags_mask = 0;
	CHECK(!same_key(&a, &b));
	print("ok seal keys\n");

	memset(before, 0xc7, 16);
	memcpy(key, before, 16);
	b = a, b.keyname = 5;
	CHECK_EQ(sgx_egetkey(&b, key), SGX_INVALID_KEYNAME);
	b = a, b.keyname = KEY_PROVISION;
	CHECK_EQ(sgx_egetkey(&b, key), SGX_INVALID_ATTRIBUTE);
	b = a, b.keyname = KEY_PROVISION_SEAL;
	CHECK_EQ(sgx_egetkey(&b, key), SGX_INVALID_ATTRIBUTE);
	b = a, b.keyname = KEY_EINITTOKEN;
	CHECK_EQ(sgx_egetkey(&b, key), SGX_INVALID_ATTRIBUTE);
	b = a, b.isvsvn = 0xffff;
	CHECK_EQ(sgx_egetkey(&b, key), report->isvsvn == 0xffff ? 0 : SGX_INVALID_ISVSVN);
	b = a, memset(b.cpusvn, 0xff, 16);
	CHECK_EQ(sgx_egetkey(&b, key), SGX_INVALID_CPUSVN);
	CHECK(memcmp(key, before, 16) == 0);
	print("ok refusals\n");
}

static void fault(const char *what)
{
	u8 *host = host_alloc(8192, 4096), *p = room;
	if (strcmp(what, "report-target-unaligned") == 0)
		sgx_ereport(p + 256, p + 4096, p + 8192);
	else if (strcmp(what, "report-data-unaligned") == 0)
		sgx_ereport(p, p + 4096 + 64, p + 8192);
	else if (strcmp(what, "report-output-unaligned") == 0)
		sgx_ereport(p, p + 4096, p + 8192 + 256);
	else if (strcmp(what, "report-target-outside") == 0)
		sgx_ereport(host, p + 4096, p + 8192);
	else if (strcmp(what, "report-output-outside") == 0)
		sgx_ereport(p, p + 4096, host);
	else if (strcmp(what, "report-output-readonly") == 0)
		sgx_ereport(p, p + 4096, image_base());
	else if (strcmp(what, "report-reserved") == 0)
		p[511] = 1, sgx_ereport(p, p + 4096, p + 8192);
	else if (strcmp(what, "key-request-unaligned") == 0)
		p[KEY_SEAL] = 0, sgx_egetkey(p + 256, p + 4096);
	else if (strcmp(what, "key-output-unaligned") == 0)
		sgx_egetkey(p, p + 4096 + 8);
	else if (strcmp(what, "key-request-outside") == 0)
		sgx_egetkey(host, p + 4096);
	else if (strcmp(what, "key-output-outside") == 0)
		sgx_egetkey(p, host);
	else if (strcmp(what, "key-output-readonly") == 0)
		p[0] = KEY_SEAL, p[2] = POLICY_MRENCLAVE, sgx_egetkey(p, image_base());
	else if (strcmp(what, "key-reserved") == 0)
		p[0] = KEY_SEAL, p[78] = 1, sgx_egetkey(p, p + 4096);
	else if (strcmp(what, "key-policy") == 0)
		p[0] = KEY_SEAL, p[3] = 0x80, sgx_egetkey(p, p + 4096);
	else if (strcmp(what, "bad-leaf") == 0)
		__asm__ volatile("enclu" : : "a"(0x77), "b"(p), "c"(p), "d"(p) : "memory");
	else if (strcmp(what, "eenter") == 0)
		__asm__ volatile("enclu" : : "a"(2), "b"(this_tcs()), "c"(p) : "memory");
	else
		panic("no fault is called \"%s\"", what);
	print("%s: no fault\n", what);
}

int enclave_main(int argc, char **argv)
{
	struct sgx_report report;
	if (argc > 1) {
		fault(argv[1]);
		return 1;
	}
	check_cmac();
	check_report(&report);
	check_keys(&report);
	print("MRENCLAVE %H\n", 32, report.mrenclave);
	print("MRSIGNER %H\n", 32, report.mrsigner);
	print("attributes %lx/%lx isvprodid %u isvsvn %u\n", report.flags, report.xfrm, (u32)report.isvprodid,
	      (u32)report.isvsvn);
	print("configid %H configsvn %u\n", 64, report.configid, (u32)report.configsvn);

	/* The same policy in another process or enclave gives this key again. */
	struct sgx_keyrequest r = new_request(KEY_SEAL, POLICY_MRSIGNER);
	u8 key[16];
	memcpy(r.cpusvn, report.cpusvn, 16);
	get_key(&r, key);
	print("signer key %H\n", 16, key);
	r.keypolicy = POLICY_MRENCLAVE;
	get_key(&r, key);
	print("enclave key %H\n", 16, key);
	return 0;
}
