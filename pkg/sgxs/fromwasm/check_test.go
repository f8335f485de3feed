package fromwasm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
)

func names(m *Module) string {
	var s []string
	for _, f := range m.Functions {
		s = append(s, f.String())
	}
	return strings.Join(s, " ")
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name      string
		guest     guest
		kind      Kind
		functions string
	}{
		{"functions of core types", guest{exports: []function{fn("f", i32, i64, f32).returns(i64), fn("g")}, memory: -1}, Library, "f(p0:s32,p1:s64,p2:f32)s64 g()"},
		{"a reactor", guest{exports: []function{fn("_initialize"), fn("f")}}, Reactor, "f()"},
		{"a command", guest{exports: []function{fn("_start")}}, Command, ""},
		{"a command with functions", guest{exports: []function{fn("_initialize"), fn("_start"), fn("f")}}, Command, "f()"},
		{"types in the name", guest{exports: []function{alloc, fn("put(key:string,n:u32)json", i32, i32, i32)}}, Library, "put(key:string,n:u32)json"},
		{"a packed result", guest{exports: []function{alloc, fn("f(a:bytes)string", i32, i32).returns(i64)}}, Library, "f(a:bytes)string"},
		{"types in a section", guest{exports: []function{alloc, fn("f", i32, i32)},
			custom: []string{"eos.functions", `[{"name":"f","params":[{"name":"x","type":"string"}],"result":"string"}]`}}, Library, "f(x:string)string"},
		{"another name in a section", guest{exports: []function{fn("f_1", i32)},
			custom: []string{"eos.functions", `[{"name":"f","export":"f_1","params":[{"name":"x","type":"bool"}]}]`}}, Library, "f(x:bool)"},
		{"WASI", guest{imports: []function{fn("wasi_snapshot_preview1.fd_write", i32, i32, i32, i32).returns(i32)}, exports: []function{fn("_start")}}, Command, ""},
		{"AssemblyScript's abort", guest{imports: []function{fn("env.abort", i32, i32, i32, i32)}, exports: []function{fn("f")}}, Library, "f()"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Check(t.Context(), c.guest.bytes())
			if err != nil {
				t.Fatal(err)
			}
			if m.Kind != c.kind || names(m) != c.functions {
				t.Errorf("%s with %q, want %s with %q", m.Kind, names(m), c.kind, c.functions)
			}
		})
	}
}

// TestHiddenMemory: memory that a module does not export needs room all the same.
func TestHiddenMemory(t *testing.T) {
	// (module (memory 3) (func (export "f")))
	m, err := Check(t.Context(), []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x03\x07\x05\x01\x01f\x00\x00\x0a\x04\x01\x02\x00\x0b"))
	if err != nil {
		t.Fatal(err)
	}
	a := manifest.NewApp("a")
	a.Limits.MemoryPages = 2
	if err := m.Fits(&a); err == nil || !strings.Contains(err.Error(), "it starts with 192 KiB of memory") {
		t.Errorf("too little memory: %v", err)
	}
}

// TestPoolOfCommand: an app without functions has no instances before its requests.
func TestPoolOfCommand(t *testing.T) {
	// (module (func (export "_start")))
	m, err := Check(t.Context(), []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x07\x0a\x01\x06_start\x00\x00\x0a\x04\x01\x02\x00\x0b"))
	if err != nil {
		t.Fatal(err)
	}
	a := manifest.NewApp("a")
	a.Limits.Pool = 1
	if err := m.Fits(&a); err == nil || !strings.Contains(err.Error(), "it has no functions") {
		t.Errorf("a pool of a command: %v", err)
	}
}

func TestInterfaces(t *testing.T) {
	g := guest{memory: 3, exports: []function{fn("f")}, imports: []function{
		fn("eos.seal_key").returns(i32), fn("eos.kv_get", i32, i32).returns(i32), fn("eos.kv_put", i32, i32, i32, i32).returns(i32),
		fn("eos.log", i32, i32, i32).returns(i32)}}
	m, err := Check(t.Context(), g.bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.Interfaces, []manifest.Interface{manifest.KV, manifest.Seal}) || m.MinPages != 3 || m.WASI {
		t.Errorf("%+v", m)
	}
	a := manifest.NewApp("a")
	if err := m.Fits(&a); err == nil || !strings.Contains(err.Error(), `the interface "seal", which its manifest does not grant`) {
		t.Errorf("an interface that is not granted: %v", err)
	}
	a.Interfaces = []manifest.Interface{manifest.KV, manifest.Seal}
	if err := m.Fits(&a); err != nil {
		t.Error(err)
	}
	a.Limits.MemoryPages = 2
	if err := m.Fits(&a); err == nil || !strings.Contains(err.Error(), "it starts with 192 KiB of memory, and its limit is 128 KiB") {
		t.Errorf("too little memory: %v", err)
	}
	a.Limits.MemoryPages = 3
	a.Permissions.Functions = []manifest.FunctionPolicy{{Name: "g", Policy: manifest.Public}}
	if err := m.Fits(&a); err == nil || !strings.Contains(err.Error(), `a policy for the function "g", which it does not export`) {
		t.Errorf("a policy for nothing: %v", err)
	}
	if m, err = Check(t.Context(), guest{exports: []function{fn("_start")}}.bytes()); err != nil {
		t.Fatal(err)
	}
	if err := m.Fits(&a); err == nil || !strings.Contains(err.Error(), `a policy for the function "g", which it does not export`) {
		t.Errorf("a policy for nothing of a command: %v", err)
	}
	a.Permissions.Functions[0].Name = "_start"
	if err := m.Fits(&a); err != nil {
		t.Errorf("a policy for a command: %v", err)
	}
}

// TestRefuses has one reason each, and the words that tell of it.
func TestRefuses(t *testing.T) {
	valid := guest{exports: []function{fn("f")}}.bytes()
	for _, c := range []struct {
		name, want string
		code       []byte
	}{
		{"nothing", "not a WASM module", nil},
		{"text", "not a WASM module", []byte("(module)")},
		{"a component", "components: not yet", []byte("\x00asm\x0d\x00\x01\x00")},
		{"a later component", "components: not yet", []byte("\x00asm\x0e\x00\x01\x00rest")},
		{"another version", "WASM version 2", []byte("\x00asm\x02\x00\x00\x00")},
		{"a cut", "not a ", valid[:len(valid)-1]},
		{"something behind", "not a ", append(slices.Clone(valid), 0xff)},
		{"wrong types inside", "not a valid WASM module", bytes.Replace(guest{exports: []function{fn("f").returns(i32)}}.bytes(), []byte{3, 0, 0x00, 0x0b}, []byte{3, 0, 0x01, 0x0b}, 1)},
		{"no exports", "it exports no function", guest{}.bytes()},
		{"only room", "it exports no function", guest{exports: []function{alloc}}.bytes()},
		{"an unknown module", "it imports env.puts, which the host does not have", guest{imports: []function{fn("env.puts", i32)}, exports: []function{fn("f")}}.bytes()},
		{"an unknown function of ours", "it imports eos.fly, which the host does not have", guest{imports: []function{fn("eos.fly")}, exports: []function{fn("f")}}.bytes()},
		{"an unknown function of WASI", "which is not of WASI preview 1", guest{imports: []function{fn("wasi_snapshot_preview1.fly")}, exports: []function{fn("f")}}.bytes()},
		{"an earlier WASI", "it imports wasi_unstable.fd_write, which the host does not have",
			guest{imports: []function{fn("wasi_unstable.fd_write", i32, i32, i32, i32).returns(i32)}, exports: []function{fn("f")}}.bytes()},
		{"another type of import", "it imports eos.kv_get with the type (i32) -> (i32) instead of (i32 i32) -> (i32)",
			guest{imports: []function{fn("eos.kv_get", i32).returns(i32)}, exports: []function{fn("f")}}.bytes()},
		{"another result of import", "it imports wasi_snapshot_preview1.proc_exit with the type (i32) -> (i32) instead of (i32) -> ()",
			guest{imports: []function{fn("wasi_snapshot_preview1.proc_exit", i32).returns(i32)}, exports: []function{fn("f")}}.bytes()},
		{"no memory", "it exports no memory", guest{imports: []function{fn("eos.reply", i32, i32).returns(i32)}, exports: []function{fn("f")}, memory: -1}.bytes()},
		{"text without room", "exports no eos_alloc", guest{exports: []function{fn("f(a:string)", i32, i32)}}.bytes()},
		{"a signature that lies", "its parameters are", guest{exports: []function{alloc, fn("f(a:string)", i32)}}.bytes()},
		{"a signature that is none", "no closing parenthesis", guest{exports: []function{fn("f(a:string", i32)}}.bytes()},
		{"a section of something else", "eos.functions", guest{exports: []function{fn("f")}, custom: []string{"eos.functions", "{}"}}.bytes()},
		{"a section of nothing there", "declares the function g, which it does not export", guest{exports: []function{fn("f")}, custom: []string{"eos.functions", `[{"name":"g","params":[]}]`}}.bytes()},
		{"one name twice", "it exports two functions named f", guest{exports: []function{fn("f"), fn("f(a:s32)", i32)}}.bytes()},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Check(t.Context(), c.code)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, %v, want %s", m, err, c.want)
			}
			if !errors.As(err, new(*Error)) {
				t.Errorf("no *Error: %#v", err)
			}
		})
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(guest{exports: []function{fn("f", i32)}}.bytes())
	f.Add(guest{imports: []function{fn("eos.kv_get", i32, i32).returns(i32)}, exports: []function{alloc, fn("f(a:string)json", i32, i32)}}.bytes())
	f.Fuzz(func(t *testing.T, code []byte) {
		m, err := Check(t.Context(), code)
		if err == nil && len(m.Functions) == 0 && m.Kind != Command {
			t.Fatal("accepted with nothing to call")
		}
		_ = fmt.Sprint(m)
	})
}
