#include "sgx.h"

void sgx_ereport(const void *targetinfo, const void *data, void *report)
{
	__asm__ volatile("enclu" : : "a"(0), "b"(targetinfo), "c"(data), "d"(report) : "memory", "cc");
}

u64 sgx_egetkey(const void *keyrequest, void *key)
{
	u64 code = 1;
	__asm__ volatile("enclu" : "+a"(code) : "b"(keyrequest), "c"(key) : "memory", "cc");
	return code;
}

/* The fields of a target are found in any report about it. */
void sgx_self_report(const u8 *data, struct sgx_report *report)
{
	static const u8 zeros[64] __attribute__((aligned(128)));
	u8 aligned[64] __attribute__((aligned(128)));
	struct sgx_targetinfo self;
	memset(&self, 0, sizeof self);
	sgx_ereport(&self, zeros, report);
	memcpy(self.measurement, report->mrenclave, 32);
	self.flags = report->flags;
	self.xfrm = report->xfrm;
	self.cet_attributes = report->cet_attributes;
	self.configsvn = report->configsvn;
	self.miscselect = report->miscselect;
	memcpy(self.configid, report->configid, 64);
	memcpy(aligned, data ? data : zeros, 64);
	sgx_ereport(&self, aligned, report);
}

/* ---- AES-128, after FIPS 197, by the book: it runs a few times ---------- */

static u8 xtime(u8 v) { return (u8)(v << 1 ^ (v & 0x80 ? 0x1b : 0)); }

static u8 gf_mul(u8 a, u8 b)
{
	u8 p = 0;
	for (; b; b >>= 1, a = xtime(a))
		if (b & 1)
			p ^= a;
	return p;
}

static u8 sub_byte(u8 v)
{
	u8 inverse = 1; /* v to the 254th */
	for (int bit = 7; bit >= 0; bit--) {
		inverse = gf_mul(inverse, inverse);
		if (254 >> bit & 1)
			inverse = gf_mul(inverse, v);
	}
	u8 s = inverse;
	for (int i = 1; i <= 4; i++)
		s ^= (u8)(inverse << i | inverse >> (8 - i));
	return s ^ 0x63;
}

static void aes_encrypt(const u8 sbox[256], const u8 key[16], u8 block[16])
{
	u8 round_key[16], rcon = 1;
	memcpy(round_key, key, 16);
	for (int round = 0;; round++) {
		for (int i = 0; i < 16; i++)
			block[i] ^= round_key[i];
		if (round == 10)
			return;
		u8 t[16];
		for (int i = 0; i < 16; i++) /* SubBytes and ShiftRows */
			t[i] = sbox[block[(i + 4 * (i % 4)) % 16]];
		for (int c = 0; c < 16 && round < 9; c += 4) { /* MixColumns */
			u8 all = t[c] ^ t[c + 1] ^ t[c + 2] ^ t[c + 3], first = t[c];
			for (int i = 0; i < 4; i++)
				t[c + i] ^= all ^ xtime(t[c + i] ^ (i == 3 ? first : t[c + i + 1]));
		}
		memcpy(block, t, 16);
		for (int i = 0; i < 16; i++) /* the next key: its first word from the last one, rotated */
			round_key[i] ^= i < 4 ? sbox[round_key[12 + (i + 1) % 4]] ^ (i == 0 ? rcon : 0) : round_key[i - 4];
		rcon = xtime(rcon);
	}
}

/* RFC 4493. */
void aes_cmac(const u8 key[16], const void *message, size_t len, u8 mac[16])
{
	u8 sbox[256], subkey[16] = {0};
	const u8 *m = message;
	for (int i = 0; i < 256; i++)
		sbox[i] = sub_byte((u8)i);
	aes_encrypt(sbox, key, subkey);
	int whole = len > 0 && len % 16 == 0;
	for (int times = whole ? 1 : 2; times > 0; times--) {
		u8 carry = subkey[0] & 0x80 ? 0x87 : 0;
		for (int i = 0; i < 15; i++)
			subkey[i] = (u8)(subkey[i] << 1 | subkey[i + 1] >> 7);
		subkey[15] = (u8)(subkey[15] << 1) ^ carry;
	}
	memset(mac, 0, 16);
	while (len > 16) {
		for (int i = 0; i < 16; i++)
			mac[i] ^= m[i];
		aes_encrypt(sbox, key, mac);
		m += 16, len -= 16;
	}
	for (size_t i = 0; i < 16; i++)
		mac[i] ^= subkey[i] ^ (i < len ? m[i] : i == len ? 0x80 : 0);
	aes_encrypt(sbox, key, mac);
}
