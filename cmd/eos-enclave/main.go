// Command eos-enclave is the program inside a runtime image. To add a module of
// your own, copy this file, name the module beside the others, and build it as any
// Go program: eos build ./my-enclave -o base.sgxs.
package main

import (
	"github.com/enclaveos/eos/pkg/runtime/boot"
	"github.com/enclaveos/eos/pkg/runtime/helloworld"
	"github.com/enclaveos/eos/pkg/runtime/wasm"
)

func main() { boot.Main(helloworld.Module{}, &wasm.Module{}) }
