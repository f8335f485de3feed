/*
 * A first enclave: it says what it is, and proves some of it to itself.
 *
 *   eos run hello.sgxs one two       greets
 *   eos run hello.sgxs syscall       tries a system call, which no enclave may
 */
#include "eos_edp.h"
#include "sgx.h"

/* A report is what one enclave shows another on the same machine. Its MAC is
   made with a key that only the target can get, so an enclave that is its own
   target can check it. */
static int verify(const struct sgx_report *report)
{
	struct sgx_keyrequest request = {.keyname = KEY_REPORT};
	u8 key[16] __attribute__((aligned(16))), mac[16];

	memcpy(request.keyid, report->keyid, sizeof request.keyid);
	if (sgx_egetkey(&request, key) != 0)
		return 0;
	aes_cmac(key, report, offsetof(struct sgx_report, keyid), mac);
	return memcmp(mac, report->mac, sizeof mac) == 0;
}

/* The seal key of this enclave on this machine. It never leaves; what is shown
   is a MAC made with it, by which it can be recognised. */
static void seal_key_fingerprint(const struct sgx_report *report, u8 fingerprint[16])
{
	struct sgx_keyrequest request = {.keyname = KEY_SEAL, .keypolicy = POLICY_MRENCLAVE};
	u8 key[16] __attribute__((aligned(16)));

	request.isvsvn = report->isvsvn;
	memcpy(request.cpusvn, report->cpusvn, sizeof request.cpusvn);
	CHECK_EQ(sgx_egetkey(&request, key), 0);
	aes_cmac(key, "fingerprint", 11, fingerprint);
}

int enclave_main(int argc, char **argv)
{
	struct sgx_report report;
	u8 fingerprint[16];

	print("Hello from inside an enclave.\n\n");
	for (int i = 0; i < argc; i++)
		print("%s%s%s", i == 0 ? "  arguments   " : " ", argv[i], i == argc - 1 ? "\n" : "");

	sgx_self_report(NULL, &report);
	print("  MRENCLAVE   %H\n", 32, report.mrenclave);
	print("  MRSIGNER    %H\n", 32, report.mrsigner);
	print("  debug       %s\n", report.flags & 2 ? "yes: the host may read all memory" : "no");
	print("  report      %s\n", verify(&report) ? "made and verified inside" : "MAC is WRONG");
	seal_key_fingerprint(&report, fingerprint);
	print("  seal key    stays inside; a MAC made with it begins %H\n", 4, fingerprint);
	print("  memory      %lu MiB at %p\n", ENCLAVE_SIZE >> 20, image_base());
	print("  time        %lu s since 1970, as the host says\n", uc_insecure_time().first / 1000000000);

	if (argc > 1 && strcmp(argv[1], "syscall") == 0) {
		print("\nA system call now. The processor refuses it, and that ends the enclave.\n");
		u64 result;
		__asm__ volatile("syscall" : "=a"(result) : "a"(39) : "rcx", "r11", "memory");
		print("It went through: process %lu. This is no enclave.\n", result);
		return 1;
	}
	return 0;
}
