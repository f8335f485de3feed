/*
 * The way into and out of an enclave of the Fortanix SGX ABI.
 *
 *   EENTER, first:   RDI RSI RDX R8 R9 = p1..p5, R10 = debug buffer, RCX = return address (AEP side), RBX = TCS
 *   EENTER, return:  RSI, RDX = values of the usercall
 *   EEXIT, usercall: RDI = number, RSI RDX R8 R9 = arguments;   EEXIT, normal: RDI = 0, RSI RDX = result
 *
 * GS points at the TLS page of the TCS, which the converter makes.
 */

#define TLS_TOS          0x00   /* top of stack: offset from the image base, made absolute by the first entry */
#define TLS_FLAGS        0x08   /* bit 0: not the main thread of an executable; bit 1: entered before */
#define TLS_USER_FCW     0x0a
#define TLS_USER_MXCSR   0x0c
#define TLS_LAST_RSP     0x10   /* RSP inside a usercall, zero when in none */
#define TLS_DEBUG_BUF    0x20
#define TLS_USER_RSP     0x28
#define TLS_USER_RETIP   0x30
#define TLS_USER_RBP     0x38
#define TLS_USER_R12     0x40
#define TLS_USER_R13     0x48
#define TLS_USER_R14     0x50
#define TLS_USER_R15     0x58
#define TLS_PTR          0x60
#define TLS_TCS          0x68

/* The converter finds the version of the ABI here, by the name of the section. */
        .section ".note.x86_64-fortanix-unknown-sgx", "", @note
        .balign 4
        .long   .Lname_end - .Lname
        .long   4
        .long   1                       /* NT_VERSION */
.Lname: .asciz  "toolchain-version"
.Lname_end:
        .balign 4
        .long   1

        .section .rodata
/* XSAVE area in its initial state; of the legacy part only MXCSR counts. */
        .balign 64
.Lclean:
        .skip   24
        .long   0x1fbf
        .balign 32

/* Values that the converter fills in. */
        .macro  splice name size
        .globl  \name
        .protected \name
        .balign \size
        .type   \name, @object
        .size   \name, \size
\name:  .skip   \size
        .endm

        splice  HEAP_BASE 8
        splice  HEAP_SIZE 8
        splice  RELA 8
        splice  RELACOUNT 8
        splice  ENCLAVE_SIZE 8
        splice  CFGDATA_BASE 8
        splice  DEBUG 1
        splice  TEXT_BASE 8
        splice  TEXT_SIZE 8
#ifdef EOS_OLD_EH_SYMBOLS
        splice  EH_FRM_HDR_BASE 8
        splice  EH_FRM_HDR_SIZE 8
#else
        splice  EH_FRM_HDR_OFFSET 8
        splice  EH_FRM_HDR_LEN 8
        splice  EH_FRM_OFFSET 8
        splice  EH_FRM_LEN 8
#endif
        .org    .Lclean + 512
        .skip   64                      /* XSTATE_BV = XCOMP_BV = 0 */

        .data
.Lexited:
        .byte   0

/* What the file says when it is started as a Linux program. */
        .section .text_no_sgx, "ax"
        .globl  elf_entry
        .type   elf_entry, @function
elf_entry:
        mov     $2, %edi
        lea     .Ltext(%rip), %rsi
        mov     $.Ltext_end - .Ltext, %edx
        mov     $1, %eax
        syscall                         /* write */
        mov     $1, %edi
        mov     $60, %eax
        syscall                         /* exit */
.Ltext: .ascii  "This is an SGX enclave, not a Linux program: convert it (eos build) and run the image (eos run).\n"
.Ltext_end:
#ifdef EOS_PAGE_OF_NO_SGX
        .skip   4096, 0xcc
#endif
        .size   elf_entry, . - elf_entry

        .text
/* Needs a stack. DF clear is the calling convention; AC would leak addresses by faults. */
        .macro  check_entry
        pushfq
        andq    $~0x40400, (%rsp)
        popfq
        testb   $1, .Lexited(%rip)
        jnz     .Lentered_after_exit
        .endm

        .globl  sgx_entry
        .type   sgx_entry, @function
sgx_entry:
        mov     %rcx, %gs:TLS_USER_RETIP
        mov     %rsp, %gs:TLS_USER_RSP
        mov     %rbp, %gs:TLS_USER_RBP
        mov     %r12, %gs:TLS_USER_R12
        mov     %r13, %gs:TLS_USER_R13
        mov     %r14, %gs:TLS_USER_R14
        mov     %r15, %gs:TLS_USER_R15
        mov     %rbx, %gs:TLS_TCS
        stmxcsr %gs:TLS_USER_MXCSR
        fnstcw  %gs:TLS_USER_FCW
        cmpb    $0, DEBUG(%rip)
        je      1f
        mov     %r10, %gs:TLS_DEBUG_BUF
1:      mov     %rdx, %r10
        mov     $-1, %eax
        mov     $-1, %edx
        xrstor  .Lclean(%rip)
        lfence
        mov     %r10, %rdx

        mov     %gs:TLS_LAST_RSP, %r11
        test    %r11, %r11
        jnz     .Lusercall_return

        mov     %gs:TLS_TOS, %rsp
        btsw    $1, %gs:TLS_FLAGS
        jc      2f
        lea     __ehdr_start(%rip), %rax
        .hidden __ehdr_start
        add     %rax, %rsp
        mov     %rsp, %gs:TLS_TOS
        check_entry
        push    %rdi
        push    %rsi
        push    %rdx
        push    %r8
        push    %r9
        sub     $8, %rsp
        movzwl  %gs:TLS_FLAGS, %edi
        and     $1, %edi
        call    eos_first_entry
        add     $8, %rsp
        pop     %r9
        pop     %r8
        pop     %rdx
        pop     %rsi
        pop     %rdi
        jmp     3f
2:      check_entry
3:      movzwl  %gs:TLS_FLAGS, %ecx
        and     $1, %ecx
        call    eos_entry               /* (p1, p2, p3, secondary, p4, p5) */
        mov     %rax, %rsi
        xor     %edi, %edi
        xor     %r8d, %r8d
        xor     %r9d, %r9d

/* RDI RSI RDX R8 R9 go out, nothing else does. */
.Lleave:
        mov     %rdx, %rcx
        mov     $-1, %eax
        mov     $-1, %edx
        xrstor  .Lclean(%rip)
        mov     %rcx, %rdx
        pushq   $0
        popfq
        xor     %r10d, %r10d
        xor     %r11d, %r11d
        mov     %gs:TLS_USER_R12, %r12
        mov     %gs:TLS_USER_R13, %r13
        mov     %gs:TLS_USER_R14, %r14
        mov     %gs:TLS_USER_R15, %r15
        mov     %gs:TLS_USER_RBP, %rbp
        mov     %gs:TLS_USER_RSP, %rsp
        mov     %gs:TLS_USER_RETIP, %rbx
        fldcw   %gs:TLS_USER_FCW
        ldmxcsr %gs:TLS_USER_MXCSR
        mov     $4, %eax
        enclu                           /* EEXIT */
        .size   sgx_entry, . - sgx_entry

.Lentered_after_exit:
        and     $-16, %rsp
        call    eos_entry_after_exit
        ud2

/* struct usercall_result usercall(nr, a1, a2, is_exit, a3, a4) */
        .globl  usercall
        .hidden usercall
        .type   usercall, @function
usercall:
        test    %rcx, %rcx
        jz      1f
        movb    $1, .Lexited(%rip)
1:      push    %r15
        push    %r14
        push    %r13
        push    %r12
        push    %rbp
        push    %rbx
        sub     $8, %rsp
        stmxcsr (%rsp)
        fnstcw  4(%rsp)
        mov     %rsp, %gs:TLS_LAST_RSP
        jmp     .Lleave
.Lusercall_return:
        movq    $0, %gs:TLS_LAST_RSP
        mov     %r11, %rsp
        ldmxcsr (%rsp)
        fldcw   4(%rsp)
        add     $8, %rsp
        check_entry
        pop     %rbx
        pop     %rbp
        pop     %r12
        pop     %r13
        pop     %r14
        pop     %r15
        mov     %rsi, %rax
        ret
        .size   usercall, . - usercall

        .section .note.GNU-stack, "", @progbits
