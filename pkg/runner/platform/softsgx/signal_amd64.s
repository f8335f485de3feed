//go:build linux

#include "go_asm.h"
#include "textflag.h"

// The signal frame, struct ucontext of x86-64 (arch/x86/include/uapi/asm/
// sigcontext.h): 23 general registers, then the address of the XSAVE image,
// which ends its legacy part with struct _fpx_sw_bytes.
#define ucGregs	40
#define ucRIP	(ucGregs + 8*const_gregRIP)
#define ucFPState	224
#define fpMagic1	464
#define fpSize	480
#define siCode	8
#define siAddr	16
#define sysRTSigprocmask	14
#define sysRTSigreturn	15

// sigHandler gets SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGSYS and the
// kick of all threads: DI is the signal, SI *siginfo, DX *ucontext. Nothing is
// known of the FS base, which may be an enclave's; the thread's control block
// is found by the stack, since the kernel switches to the alternate stack in
// it. A thread of the host's is on another stack: its signal is the Go
// runtime's.
TEXT ·sigHandler(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVQ	SP, R12
	ANDQ	$~(const_blockSize-1), R12
	MOVQ	R12, AX
	SUBQ	·arenaBase(SB), AX
	CMPQ	AX, $const_arenaSize
	JCC	chain
	CMPB	control_selector(R12), $const_selectorAllow
	JNE	inside

	// Outside. A kick during an entry abandons it; else it is remembered in
	// the control block already.
	CMPL	DI, $const_sigKick
	JNE	chain
	MOVQ	ucRIP(DX), AX
	SUBQ	·entryStart(SB), AX
	CMPQ	AX, ·entrySize(SB)
	JCS	abandon
	RET

	// Inside. A kick, and a signal that a program sent and no exception
	// raised, may come at any instruction; they are both remembered in the
	// control block, and only make sure that the enclave is left soon.
inside:
	CMPL	DI, $const_sigKick
	JEQ	async
	CMPL	siCode(SI), $0
	JGT	sync
	MOVL	DI, CX
	MOVQ	$1, AX
	SHLQ	CX, AX
	ORQ	AX, control_foreign(R12)
	MOVL	$1, control_kick(R12)
async:
	MOVQ	ucRIP(DX), AX
	MOVQ	AX, CX
	SUBQ	·entryStart(SB), CX
	CMPQ	CX, ·entrySize(SB)
	JCS	abandon
	MOVQ	AX, CX
	SUBQ	·landingStart(SB), CX
	CMPQ	CX, ·landingSize(SB)
	JCS	later
	MOVQ	AX, CX
	SUBQ	·handlerStart(SB), CX
	CMPQ	CX, ·handlerSize(SB)
	JCS	later
	MOVQ	AX, CX
	SUBQ	·restorerStart(SB), CX
	CMPQ	CX, ·restorerSize(SB)
	JCS	later
	SUBQ	·leaveStart(SB), AX
	CMPQ	AX, ·leaveSize(SB)
	JCS	later
	MOVQ	$const_leftSignal, R8
	CMPL	control_kick(R12), $0
	JNE	save
later:	// or a kick that an Enter has answered already
	RET

abandon:
	MOVQ	$const_leftAbandoned, control_kind(R12)
	JMP	·leave(SB)

	// An exception: of the enclave, or of what of it is still in registers.
sync:
	MOVQ	ucRIP(DX), AX
	MOVQ	$const_leftRefused, R8
	MOVQ	AX, CX
	SUBQ	·entryStart(SB), CX
	CMPQ	CX, ·entrySize(SB)
	JCS	save
	MOVQ	$const_leftLanded, R8
	MOVQ	AX, CX
	SUBQ	·landingStart(SB), CX
	CMPQ	CX, ·landingSize(SB)
	JCS	save
	MOVQ	$const_leftSignal, R8
	SUBQ	·handlerStart(SB), AX
	CMPQ	AX, ·handlerSize(SB)
	JCC	save

	// In this handler it is a bug of ours, which the Go runtime reports.
	MOVQ	control_hostGS(R12), AX
	WRGSBASEQ	AX
	MOVQ	control_hostFS(R12), AX
	WRFSBASEQ	AX
	MOVB	$const_selectorAllow, control_selector(R12)
	JMP	chain

save:
	// The state of the enclave: what the frame has, and the FS and GS base,
	// which it has not.
	MOVQ	R8, control_kind(R12)
	RDFSBASEQ	AX
	MOVQ	AX, control_fs(R12)
	RDGSBASEQ	AX
	MOVQ	AX, control_gs(R12)
	MOVL	DI, control_sig(R12)
	MOVL	siCode(SI), AX
	MOVL	AX, control_sigCode(R12)
	MOVQ	siAddr(SI), AX
	MOVQ	AX, control_sigAddr(R12)
	CLD
	LEAQ	ucGregs(DX), SI
	LEAQ	control_gregs(R12), DI
	MOVQ	$const_gregCount, CX
	REP
	MOVSQ
	MOVQ	ucFPState(DX), SI
	MOVQ	$const_fxsaveSize, CX
	CMPL	fpMagic1(SI), $const_fpMagic
	JNE	legacy
	MOVL	fpSize(SI), CX
legacy:
	CMPQ	CX, $const_xsaveMax
	JLS	copy
	MOVQ	$const_xsaveMax, CX
copy:
	MOVQ	CX, control_xsaveLen(R12)
	SHRQ	$3, CX
	LEAQ	control_xsave(R12), DI
	REP
	MOVSQ
	JMP	·leave(SB)

	// Go's handler wants all signals blocked, as in its own sigaction; the
	// return from the signal unblocks them.
chain:
	MOVQ	DI, R13
	MOVQ	SI, R14
	MOVQ	DX, R15
	PUSHQ	$-1
	MOVQ	$2, DI	// SIG_SETMASK
	MOVQ	SP, SI
	XORL	DX, DX
	MOVQ	$8, R10
	MOVQ	$sysRTSigprocmask, AX
	SYSCALL
	POPQ	AX
	MOVQ	R13, DI
	MOVQ	R14, SI
	MOVQ	R15, DX
	LEAQ	·goHandlers(SB), CX
	MOVQ	(CX)(DI*8), AX
	JMP	AX

// sigRestorer is where the handler returns to. The kernel lets its system call
// pass whatever the selector says, see bindThread.
TEXT ·sigRestorer(SB), NOSPLIT|NOFRAME, $0
	MOVQ	$sysRTSigreturn, AX
	SYSCALL
	INT	$3

// func codeAddrs() (handler, restorer, leave, entry, landing uintptr)
TEXT ·codeAddrs(SB), NOSPLIT, $0-40
	LEAQ	·sigHandler(SB), AX
	MOVQ	AX, handler+0(FP)
	LEAQ	·sigRestorer(SB), AX
	MOVQ	AX, restorer+8(FP)
	LEAQ	·leave(SB), AX
	MOVQ	AX, leave+16(FP)
	LEAQ	·entry(SB), AX
	MOVQ	AX, entry+24(FP)
	LEAQ	·landing(SB), AX
	MOVQ	AX, landing+32(FP)
	RET
