// An app of two functions, for an enclave of eos:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o hello.wasm .
package main

import (
	"os"

	eos "github.com/enclaveos/eos/sdk/go"
)

//go:wasmexport hello(name:string)string
func hello(name string) {
	if name == "" {
		name = "world"
	}
	greeting := os.Getenv("GREETING") // of the manifest
	if greeting == "" {
		greeting = "Hello"
	}
	eos.Reply(greeting + ", " + name + ", from inside an enclave.")
}

//go:wasmexport add(a:s32,b:s32)s32
func add(a, b int32) int32 { return a + b }

func main() {}
