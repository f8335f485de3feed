// Sys uses modules that have system calls and CPUID in their assembly.
package main

import (
	"fmt"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

func main() {
	fmt.Println("pid", unix.Getpid() > 0)
	fmt.Println("sse2", cpu.X86.HasSSE2)
	fmt.Printf("%x\n", blake2b.Sum256([]byte("abc")))
}
