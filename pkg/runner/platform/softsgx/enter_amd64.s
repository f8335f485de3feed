//go:build linux

#include "go_asm.h"
#include "textflag.h"

// Registers throughout: R12 is the thread's *control. Offsets of its fields
// come from go_asm.h, which the compiler makes from the Go declarations.
//
// The signal handler may run between any two instructions here. It knows the
// extent of each symbol (see signal_unsafe.go), and two of them by what it
// does if they were interrupted:
//
//	entry    from the test of kick to the jump into the enclave. A kick in it
//	         must not be lost, so the handler abandons the entry.
//	landing  from the jump out of the enclave until the selector is clear. The
//	         enclave has been left; a kick waits for the next entry.

// Back to the frame of the caller of enter.
#define HOST_STACK \
	MOVQ	control_hostSP(R12), SP; \
	MOVQ	control_hostBP(R12), BP

// func enter(c *control, how uint64)
//
// Saves where to return to, in the control block, because every register will
// be the enclave's.
TEXT ·enter(SB), NOSPLIT|NOFRAME, $0-16
	MOVQ	c+0(FP), R12
	MOVQ	how+8(FP), AX
	MOVQ	SP, control_hostSP(R12)
	JMP	·entry(SB)

TEXT ·entry(SB), NOSPLIT|NOFRAME, $0
	MOVQ	BP, control_hostBP(R12)
	CMPL	control_kick(R12), $0
	JNE	abandon
	MOVQ	control_exit(R12), R11
	MOVQ	R12, exitBlock_owner(R11)
	CMPQ	AX, $const_howResume
	JEQ	resume

	// EENTER. RSP and RBP go to the SSA frame now: enclaves read them there.
	MOVQ	control_gprsgx(R12), R11
	MOVQ	control_stack(R12), SP
	XORL	BP, BP
	MOVQ	SP, const_gprURSP(R11)
	MOVQ	BP, const_gprURBP(R11)
	MOVQ	control_rdi(R12), DI
	MOVQ	control_rsi(R12), SI
	MOVQ	control_rdx(R12), DX
	MOVQ	control_r8(R12), R8
	MOVQ	control_r9(R12), R9
	MOVQ	control_r10(R12), R10
	MOVQ	control_tcs(R12), BX
	MOVQ	control_oentry(R12), R11
	LEAQ	·landing(SB), CX
	XORL	R13, R13
	XORL	R14, R14
	XORL	R15, R15
	MOVB	$const_selectorBlock, control_selector(R12)
	MOVQ	control_gs(R12), AX
	WRGSBASEQ	AX
	MOVQ	control_fs(R12), AX
	WRFSBASEQ	AX
	MOVL	control_cssa(R12), AX
	MOVL	$0, R12
	JMP	R11

	// ERESUME, and going on after EREPORT and EGETKEY: everything comes from
	// the control block. IRETQ needs no register and no enclave memory.
resume:
	MOVB	$const_selectorBlock, control_selector(R12)
	MOVQ	control_gs(R12), AX
	WRGSBASEQ	AX
	MOVQ	control_fs(R12), AX
	WRFSBASEQ	AX
	MOVL	control_rfbm+0(R12), AX
	MOVL	control_rfbm+4(R12), DX
	XRSTOR64	control_xsave(R12)
	LEAQ	control_iret(R12), SP
	MOVQ	(control_gregs+8*const_gregR8)(R12), R8
	MOVQ	(control_gregs+8*const_gregR9)(R12), R9
	MOVQ	(control_gregs+8*const_gregR10)(R12), R10
	MOVQ	(control_gregs+8*const_gregR11)(R12), R11
	MOVQ	(control_gregs+8*const_gregR13)(R12), R13
	MOVQ	(control_gregs+8*const_gregR14)(R12), R14
	MOVQ	(control_gregs+8*const_gregR15)(R12), R15
	MOVQ	(control_gregs+8*const_gregRDI)(R12), DI
	MOVQ	(control_gregs+8*const_gregRSI)(R12), SI
	MOVQ	(control_gregs+8*const_gregRBP)(R12), BP
	MOVQ	(control_gregs+8*const_gregRBX)(R12), BX
	MOVQ	(control_gregs+8*const_gregRDX)(R12), DX
	MOVQ	(control_gregs+8*const_gregRAX)(R12), AX
	MOVQ	(control_gregs+8*const_gregRCX)(R12), CX
	MOVQ	(control_gregs+8*const_gregR12)(R12), R12
	IRETQ

abandon:
	MOVQ	$const_leftAbandoned, control_kind(R12)
	JMP	·leave(SB)

// landing is the address after EENTER, which an enclave gets in RCX and leaves
// to in RBX. All registers are the enclave's, RSP too: it is believed only if
// it points into an exit block whose TCS is inside. Anything else, and any
// fault here, is left to the signal handler, which knows the thread by its own
// stack.
TEXT ·landing(SB), NOSPLIT|NOFRAME, $0
	MOVQ	SP, AX
	ANDQ	$~(const_blockSize-1), AX
	MOVQ	AX, CX
	SUBQ	·arenaBase(SB), CX
	CMPQ	CX, $const_arenaSize
	JCC	lie
	MOVQ	exitBlock_owner(AX), CX
	TESTQ	CX, CX
	JEQ	lie
	MOVQ	$0, exitBlock_owner(AX)
	MOVQ	control_hostGS(CX), AX
	WRGSBASEQ	AX
	MOVQ	control_hostFS(CX), AX
	WRFSBASEQ	AX
	MOVQ	DI, control_rdi(CX)
	MOVQ	SI, control_rsi(CX)
	MOVQ	DX, control_rdx(CX)
	MOVQ	R8, control_r8(CX)
	MOVQ	R9, control_r9(CX)
	MOVQ	R10, control_r10(CX)
	MOVQ	$const_leftEEXIT, control_kind(CX)
	MOVB	$const_selectorAllow, control_selector(CX)
	MOVQ	CX, R12
	HOST_STACK

	// What Go and C code expect of the flags and the vector unit. Each is
	// looked at first, since changing it costs more.
	PUSHFQ
	POPQ	AX
	TESTL	$const_flagsForeign, AX
	JNE	flags
flagsDone:
	STMXCSR	control_mxcsr(R12)
	MOVL	control_mxcsr(R12), AX
	XORL	control_hostMXCSR(R12), AX
	TESTL	$~const_mxcsrSticky, AX
	JNE	mxcsr
mxcsrDone:
	FSTCW	control_mxcsr(R12)
	MOVW	control_mxcsr(R12), AX
	CMPW	AX, control_hostFCW(R12)
	JNE	fcw
fcwDone:
	CMPB	control_avx(R12), $0
	JEQ	noAVX
	VZEROUPPER
noAVX:
	XORPS	X15, X15
	RET

lie:
	UNDEF
flags:
	PUSHQ	$const_flagsHost
	POPFQ
	JMP	flagsDone
mxcsr:
	LDMXCSR	control_hostMXCSR(R12)
	JMP	mxcsrDone
fcw:
	FINIT
	FLDCW	control_hostFCW(R12)
	JMP	fcwDone

// leave returns from enter when the enclave was not left by landing: from the
// signal handler, whose stack and frame are given up, or from an abandoned
// entry.
TEXT ·leave(SB), NOSPLIT|NOFRAME, $0
	MOVQ	control_hostGS(R12), AX
	WRGSBASEQ	AX
	MOVQ	control_hostFS(R12), AX
	WRFSBASEQ	AX
	MOVB	$const_selectorAllow, control_selector(R12)
	MOVQ	control_exit(R12), AX
	MOVQ	$0, exitBlock_owner(AX)
	HOST_STACK
	PUSHQ	$const_flagsHost
	POPFQ
	LDMXCSR	control_hostMXCSR(R12)
	FINIT
	FLDCW	control_hostFCW(R12)
	XORPS	X15, X15
	RET
