/* The SGX leaves that a program inside may use, and AES-128-CMAC to check
   what they return. Structures are those of the SDM, chapter 38. */
#ifndef EOS_SGX_H
#define EOS_SGX_H

#include "eos_edp.h"

struct sgx_targetinfo {
	u8 measurement[32];
	u64 flags, xfrm;
	u8 cet_attributes, reserved1;
	u16 configsvn;
	u32 miscselect;
	u8 reserved2[8], configid[64], reserved3[384];
} __attribute__((aligned(512)));

struct sgx_report {
	u8 cpusvn[16];
	u32 miscselect;
	u8 cet_attributes, reserved1[11], isvextprodid[16];
	u64 flags, xfrm;
	u8 mrenclave[32], reserved2[32], mrsigner[32], reserved3[32], configid[64];
	u16 isvprodid, isvsvn, configsvn;
	u8 reserved4[42], isvfamilyid[16], reportdata[64];
	u8 keyid[32], mac[16]; /* the MAC covers all before keyid */
} __attribute__((aligned(512)));

struct sgx_keyrequest {
	u16 keyname, keypolicy, isvsvn;
	u8 cet_attributes_mask, reserved1, cpusvn[16];
	u64 flags_mask, xfrm_mask;
	u8 keyid[32];
	u32 miscmask;
	u16 configsvn;
	u8 reserved2[434];
} __attribute__((aligned(512)));

_Static_assert(sizeof(struct sgx_targetinfo) == 512, "TARGETINFO");
_Static_assert(offsetof(struct sgx_report, reportdata) == 320 && offsetof(struct sgx_report, mac) == 416, "REPORT");
_Static_assert(sizeof(struct sgx_keyrequest) == 512 && offsetof(struct sgx_keyrequest, keyid) == 40, "KEYREQUEST");

enum { KEY_EINITTOKEN, KEY_PROVISION, KEY_PROVISION_SEAL, KEY_REPORT, KEY_SEAL };
enum { POLICY_MRENCLAVE = 1, POLICY_MRSIGNER = 2 };
enum {
	SGX_INVALID_ATTRIBUTE = 2,
	SGX_INVALID_CPUSVN = 32,
	SGX_INVALID_ISVSVN = 64,
	SGX_INVALID_KEYNAME = 256,
};

/* The leaves as they are: a bad operand faults. data has 64 bytes and is
   aligned to 128, key 16 and is aligned to 16. */
void sgx_ereport(const void *targetinfo, const void *data, void *report);
u64 sgx_egetkey(const void *keyrequest, void *key);

/* A report about this enclave for this enclave. data may be null: zeros. */
void sgx_self_report(const u8 *data, struct sgx_report *report);

void aes_cmac(const u8 key[16], const void *message, size_t len, u8 mac[16]);

#endif
