// Package eos is the host of an app, as seen from a Go program that is compiled
// to WebAssembly and runs in an enclave of eos.
//
// An app of functions is built as a reactor:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o app.wasm .
//
// and names each function with its types in the directive that exports it:
//
//	//go:wasmexport hello(name:string)string
//	func hello(name string) { eos.Reply("Hello, " + name + ".") }
//
// A parameter of type string, bytes or json is a Go string. A result of one of
// these types is given with Reply, and the function itself returns nothing; bool,
// s32, u32, s64, u64, f32 and f64 are bool, int32, uint32 and so on and are
// returned as usual. There is no blank in the name.
//
// A command, a main package built without -buildmode, needs nothing of this
// package to answer requests: they come as CGI on standard input and in the
// environment. It may use the store and the rest all the same.
//
// Which groups of functions an app may call is granted by its manifest; the
// others answer ErrDenied. docs/wasm.md of eos has all of it.
//
// Outside of an enclave each function answers ErrUnavailable, so that a package
// that uses them can be tested natively.
package eos
