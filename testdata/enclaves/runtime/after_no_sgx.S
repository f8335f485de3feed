/* Code behind .text_no_sgx, so that the converter cannot cut that section off
   the end of the segment and has to overwrite it with NOPs. */
        .section .text_behind, "ax"
        .globl  eos_code_behind
        .hidden eos_code_behind
        .type   eos_code_behind, @function
eos_code_behind:
        ret
        .size   eos_code_behind, . - eos_code_behind
        .section .note.GNU-stack, "", @progbits
