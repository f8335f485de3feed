// Command guest is what the tests call: a reactor in Go, built with GOOS=wasip1 and
// -buildmode=c-shared.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"sort"
	"strings"
	"time"
	"unsafe"
)

func main() {}

func answer(s string) {
	reply(uint32(uintptr(unsafe.Pointer(unsafe.StringData(s)))), uint32(len(s)))
	runtime.KeepAlive(s)
}

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

//go:wasmexport echo(b:bool,i:s32,u:u32,l:s64,m:u64,f:f32,d:f64,s:string,y:bytes,j:json)string
func echo(b bool, i int32, u uint32, l int64, m uint64, f float32, d float64, s string, y string, j string) {
	answer(fmt.Sprint(b, i, u, l, m, f, d, s, []byte(y), j))
}

//go:wasmexport bool(v:s32)bool
func isSet(v int32) int32 { return v }

//go:wasmexport u64(v:u64)u64
func u64(v uint64) uint64 { return v }

//go:wasmexport f64(v:f64)f64
func f64(v float64) float64 { return 1 / v }

//go:wasmexport bytes(n:u32)bytes
func bytes(n uint32) { answer(string(make([]byte, n))) }

//go:wasmexport raw(text:string)string
func raw(text string) { answer("\xff" + text) }

//go:wasmexport packed(ptr:u32,len:u32)string
func packed(ptr, n uint32) uint64 { return uint64(ptr)<<32 | uint64(n) }

//go:wasmexport spin
func spin() {
	for {
	}
}

//go:wasmexport deep(n:s32)s32
func deep(n int32) int32 {
	if n == 0 {
		return 0
	}
	return deep(n-1) + 1
}

//go:wasmexport sleep(ms:u32)
func sleep(ms uint32) { time.Sleep(time.Duration(ms) * time.Millisecond) }

//go:wasmexport eat(mib:u32)string
func eat(mib uint32) {
	var all [][]byte
	for range mib {
		b := make([]byte, 1<<20)
		b[0] = 1
		all = append(all, b)
	}
	answer(fmt.Sprint(len(all)))
}

//go:wasmexport exit(code:s32)
func exit(code int32) { os.Exit(int(code)) }

//go:wasmexport crash
func crash() { panic("crashed") }

//go:wasmexport refuse(text:string)s32
func refuse(text string) int32 {
	fail(uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))), uint32(len(text)))
	return 7
}

var counter int32

//go:wasmexport count
func count() int32 {
	counter++
	return counter
}

//go:wasmexport say(text:string)
func say(text string) {
	fmt.Println(text)
	fmt.Fprint(os.Stderr, "to stderr: ", text)
}

//go:wasmexport getenv(name:string)string
func getenv(name string) { answer(os.Getenv(name)) }

//go:wasmexport args()string
func args() { answer(strings.Join(os.Args, " ")) }

func result(err error) {
	if err != nil {
		answer("error: " + err.Error())
	} else {
		answer("ok")
	}
}

//go:wasmexport write(path:string,text:string)string
func write(path, text string) {
	if i := strings.LastIndex(path, "/"); i > 0 {
		if err := os.MkdirAll(path[:i], 0o755); err != nil {
			result(err)
			return
		}
	}
	result(os.WriteFile(path, []byte(text), 0o644))
}

//go:wasmexport read(path:string)string
func read(path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		result(err)
		return
	}
	answer(string(b))
}

//go:wasmexport list(path:string)string
func list(path string) {
	e, err := os.ReadDir(path)
	if err != nil {
		result(err)
		return
	}
	var names []string
	for _, f := range e {
		name := f.Name()
		if f.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	sort.Strings(names)
	answer(strings.Join(names, " "))
}

//go:wasmexport files()string
func files() { answer(filesTest()) }

// dial sends a text over a connection and answers with what comes back.
//
//go:wasmexport dial(address:string,text:string)string
func dial(address, text string) {
	f, err := os.OpenFile("/net/tcp/"+address, os.O_RDWR, 0)
	if err != nil {
		result(err)
		return
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		result(err)
		return
	}
	b, err := io.ReadAll(f)
	if err != nil {
		result(err)
		return
	}
	answer(string(b))
}

// work does some of everything that programs do, n times.
//
//go:wasmexport work(n:s32)s32
func work(n int32) int32 {
	sum := int32(0)
	for range n {
		v := make([]int, 2000)
		x := uint32(1)
		for i := range v {
			x = x*1664525 + 1013904223
			v[i] = int(x >> 8)
		}
		sort.Ints(v)
		m := map[string]int{}
		for i := range 500 {
			m[fmt.Sprint(v[i]%100)] += i
		}
		b, _ := json.Marshal(m)
		_ = json.Unmarshal(b, &m)
		h := sha256.Sum256([]byte(strings.Repeat(string(b), 20)))
		sum += int32(h[0]) + int32(len(m))
	}
	return sum
}
