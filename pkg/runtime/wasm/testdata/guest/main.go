// Command guest is what the tests call: a reactor in Go. It is built with
// GOOS=wasip1 -buildmode=c-shared.
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"unsafe"
)

func main() {}

//go:wasmimport eos reply
func reply(ptr unsafe.Pointer, n uint32) int32

//go:wasmimport eos kv_put
func kvPut(k unsafe.Pointer, kn uint32, v unsafe.Pointer, vn uint32) int32

//go:wasmimport eos kv_get
func kvGet(k unsafe.Pointer, kn uint32) int32

//go:wasmimport eos result_read
func resultRead(p unsafe.Pointer, n uint32) int32

func ptr(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

func answer(s string) { reply(ptr(s), uint32(len(s))) }

// held keeps what the host was given from the garbage collector.
var held [][]byte

//go:wasmexport eos_alloc
func alloc(n uint32) unsafe.Pointer {
	b := make([]byte, max(n, 1))
	held = append(held, b)
	return unsafe.Pointer(&b[0])
}

//go:wasmexport add
func add(a, b int32) int32 { return a + b }

//go:wasmexport greet(name:string)string
func greet(name string) { answer("hello, " + name) }

//go:wasmexport put(key:string,value:string)s32
func put(k, v string) int32 { return kvPut(ptr(k), uint32(len(k)), ptr(v), uint32(len(v))) }

//go:wasmexport get(key:string)string
func get(k string) {
	n := kvGet(ptr(k), uint32(len(k)))
	if n < 0 {
		answer(fmt.Sprint("error ", n))
		return
	}
	b := make([]byte, n)
	resultRead(unsafe.Pointer(unsafe.SliceData(b)), uint32(n))
	answer(string(b))
}

//go:wasmexport spin
func spin() {
	for {
	}
}

//go:wasmexport env(name:string)string
func env(name string) { answer(os.Getenv(name)) }

//go:wasmexport write(path:string,text:string)string
func write(path, text string) {
	if i := strings.LastIndex(path, "/"); i > 0 {
		if err := os.MkdirAll(path[:i], 0o755); err != nil {
			answer(err.Error())
			return
		}
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		answer(err.Error())
		return
	}
	answer("ok")
}

//go:wasmexport read(path:string)string
func read(path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		answer("error: " + err.Error())
		return
	}
	answer(string(b))
}

//go:wasmexport list(path:string)string
func list(path string) {
	e, err := os.ReadDir(path)
	if err != nil {
		answer("error: " + err.Error())
		return
	}
	var names []string
	for _, f := range e {
		names = append(names, f.Name())
	}
	sort.Strings(names)
	answer(strings.Join(names, " "))
}
