package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/manifest"
)

// sectionOf is one of a module, whatever its size.
func sectionOf(id byte, parts ...string) string {
	body := strings.Join(parts, "")
	return string([]byte{id}) + string(binary.AppendUvarint(nil, uint64(len(body)))) + body
}

func nameOf(s string) string { return string([]byte{byte(len(s))}) + s }

// Functions of the module that runaway makes.
const (
	fnRandom = "\x10\x00"
	fnReply  = "\x10\x01"
	fnLog    = "\x10\x02"
	fnList   = "\x10\x03"
	fnDigest = "\x10\x04"
	fnWrite  = "\x10\x05"
	fnSelf   = "\x10\x06"
	fnNop    = "\x10\x07"
)

// runaway makes a module with the function f () -> (), a memory of 16 pages that may have
// 1024, a table, and the host's functions above. With start, f is run at the start.
func runaway(code string, start bool) []byte {
	i32s := func(n int) string { return string([]byte{byte(n)}) + strings.Repeat("\x7f", n) }
	body := func(code string) string {
		code = "\x00" + code + "\x0b"
		return string(binary.AppendUvarint(nil, uint64(len(code)))) + code
	}
	m := "\x00asm\x01\x00\x00\x00" +
		sectionOf(1, "\x05", "\x60\x00\x00", "\x60", i32s(2), "\x01\x7f", "\x60", i32s(3), "\x01\x7f", "\x60", i32s(5), "\x01\x7f", "\x60", i32s(4), "\x01\x7f") +
		sectionOf(2, "\x06", nameOf("eos"), nameOf("random"), "\x00\x01", nameOf("eos"), nameOf("reply"), "\x00\x01", nameOf("eos"), nameOf("log"), "\x00\x02",
			nameOf("eos"), nameOf("kv_list"), "\x00\x03", nameOf("eos"), nameOf("digest"), "\x00\x02", nameOf("wasi_snapshot_preview1"), nameOf("fd_write"), "\x00\x04") +
		sectionOf(3, "\x02\x00\x00") + sectionOf(4, "\x01\x70\x00\x02") + sectionOf(5, "\x01\x01\x10\x80\x08") +
		sectionOf(7, "\x02", nameOf("f"), "\x00\x06", nameOf("memory"), "\x02\x00")
	if start {
		m += sectionOf(8, "\x06")
	}
	return []byte(m + sectionOf(9, "\x01\x00\x41\x00\x0b\x01\x06") + sectionOf(10, "\x02", body(code), body("")))
}

// loop repeats code without end.
func loop(code string) string { return "\x03\x40" + code + "\x0c\x00\x0b" }

const mib = "\x41\x80\x80\xc0\x00" // i32.const 1 << 20

// runaways do what a guest can to take the processor, memory, stack or log from others.
var runaways = map[string]string{
	"an endless loop":             loop(""),
	"a loop at the start":         loop(""),
	"calls without end":           loop(fnNop),
	"recursion":                   fnSelf,
	"recursion, twice":            fnSelf + fnSelf,
	"recursion through the table": "\x41\x00\x11\x00\x00",
	"memory that grows":           loop("\x41\x01\x40\x00\x1a"),
	"memory that grows at once":   loop("\x41\xf0\x07\x40\x00\x1a"),
	"memory.fill":                 loop("\x41\x00\x41\x01" + mib + "\xfc\x0b\x00"),
	"memory.copy":                 loop("\x41\x00\x41\x00" + mib + "\xfc\x0a\x00\x00"),
	"a table that grows":          loop("\xd0\x70\x41\x64\x41\x7f\x71\xfc\x0f\x00\x1a"),
	"a table that grows by 1000":  loop("\xd0\x70\x41\xe8\x07\xfc\x0f\x00\x1a"),
	"table.fill":                  loop("\x41\x00\xd0\x70\x41\x02\xfc\x11\x00"),
	"a huge br_table":             loop("\x02\x40\x41\x00\x0e\xd0\x0f" + strings.Repeat("\x00\x01", 1000) + "\x00" + "\x0b"),
	"random numbers":              loop("\x41\x00\x41\x80\x80\x04" + fnRandom + "\x1a"),
	"4 GiB of random numbers":     loop("\x41\x00\x41\x7f" + fnRandom + "\x1a"),
	"replies":                     loop("\x41\x00" + mib + fnReply + "\x1a"),
	"a log":                       loop("\x41\x00\x41\x00\x41\x80\x20" + fnLog + "\x1a"),
	"a log of 4 GiB":              loop("\x41\x00\x41\x00\x41\x7f" + fnLog + "\x1a"),
	"lists of keys":               loop("\x41\x00\x41\x00\x41\x00\x41\x00\x41\x00" + fnList + "\x1a"),
	"digests":                     loop("\x41\x00\x41\x00" + mib + fnDigest + "\x1a"),
	"standard error": "\x41\x00\x41\x80\x80\x04\x36\x02\x04" + // 65536 bytes at 0
		loop("\x41\x02\x41\x00\x41\x01\x41\x08"+fnWrite+"\x1a"),
}

// TestRunaways: each of them comes to an end that its own caller is told of, while the
// neighbour's calls are answered, and nothing of it is left.
func TestRunaways(t *testing.T) {
	for _, e := range []EngineKind{Compiler, Interpreter} {
		h := newHost(t, e)
		h.Memory = 96 << 20
		good := load(t, h, "good", assemble("\x7f", "\x7f", "\x20\x00"))
		fuel := map[EngineKind]uint64{Compiler: 2_500_000, Interpreter: 300_000}[e]
		for what, code := range runaways {
			what := fmt.Sprintf("%s: %s", e, what)
			bad := load(t, h, "bad", runaway(code, strings.Contains(what, "start")), func(m *manifest.App) {
				m.Limits.Fuel, m.Limits.TimeMS = fuel, 60_000
			})
			var wg sync.WaitGroup
			wg.Go(func() {
				ctx, done := context.WithCancel(t.Context())
				defer done() // the answer is written
				_, err := bad.Call(ctx, Caller{}, "f", nil)
				var f *Fault
				if !errors.As(err, &f) || !slices.Contains([]FaultKind{FaultFuel, FaultStack}, f.Kind) {
					t.Errorf("%s: %v", what, err)
				}
			})
			for i := range 5 {
				if got, err := call(t, good, "f", fmt.Sprintf(`{"p0":%d}`, i)); err != nil || got != fmt.Sprint(i) {
					t.Errorf("%s: the neighbour: %s, %v", what, got, err)
				}
			}
			wg.Wait()
			if err := bad.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		nothingLeft(t, h)
	}
}

// TestCrowd: a thousand runaways at a time, where the manifest allows them, wait for each
// other's memory, and the neighbour is served.
func TestCrowd(t *testing.T) {
	h := newHost(t, Compiler)
	h.Memory = 32 << 20
	good := load(t, h, "good", assemble("\x7f", "\x7f", "\x20\x00"))
	bad := load(t, h, "bad", runaway(loop(""), false), func(m *manifest.App) {
		m.Limits.Fuel, m.Limits.TimeMS, m.Limits.Concurrency = 100_000, 60_000, 1000
	})
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			_, err := bad.Call(t.Context(), Caller{}, "f", nil)
			fault(t, "one of a thousand", err, FaultFuel, "fuel of 100000")
		})
	}
	for i := range 50 {
		if got, err := call(t, good, "f", fmt.Sprintf(`{"p0":%d}`, i)); err != nil || got != fmt.Sprint(i) {
			t.Errorf("the neighbour: %s, %v", got, err)
		}
	}
	wg.Wait()
	nothingLeft(t, h)
}

// nothingLeft waits until all memory is given back, and what is counted beside it.
func nothingLeft(t *testing.T, h *Host) {
	t.Helper()
	left := func() int64 {
		h.memory.mu.Lock()
		defer h.memory.mu.Unlock()
		return h.memory.used + h.memory.beside
	}
	over := time.After(30 * time.Second)
	for {
		change := h.memory.change()
		if left() == 0 {
			return
		}
		select {
		case <-change:
		case <-over:
			t.Fatalf("%d bytes are left", left())
		}
	}
}

// TestSlowClients: answers that are not written yet leave room for the neighbour, and calls
// that would make more of them wait.
func TestSlowClients(t *testing.T) {
	h := newHost(t, Interpreter)
	h.Memory = 96 << 20
	// A mebibyte of zeros as text: each is six characters of JSON.
	code := runaway("\x41\x00"+mib+fnReply+"\x1a", false)
	section := `[{"name":"f","params":[],"result":"string"}]`
	code = append(code, sectionOf(0, nameOf("eos.functions"), section)...)
	bad := load(t, h, "bad", code, func(m *manifest.App) { m.Limits.TimeMS = 60_000 })
	good := load(t, h, "good", assemble("\x7f", "\x7f", "\x20\x00"))
	ctx, written := context.WithCancel(t.Context())
	for range 2 {
		if _, err := bad.Call(ctx, Caller{}, "f", nil); err != nil {
			t.Fatal(err)
		}
	}
	bad.Limits.TimeMS = 50
	_, err := bad.Call(ctx, Caller{}, "f", nil)
	var f *Fault
	if !errors.As(err, &f) || f.Kind != FaultBusy && f.Kind != FaultTime {
		t.Errorf("a third one: %v", err)
	}
	if got, err := call(t, good, "f", `{"p0":1}`); err != nil || got != "1" {
		t.Errorf("the neighbour: %s, %v", got, err)
	}
	written()
	nothingLeft(t, h)
}

// TestInstanceSize: what instances take beside their memory has a bound, too.
func TestInstanceSize(t *testing.T) {
	h := newHost(t, Interpreter)
	h.Memory = 4 << 20
	// A table of 32768 elements: two megabytes.
	code := []byte("\x00asm\x01\x00\x00\x00" + sectionOf(1, "\x01\x60\x00\x00") + sectionOf(3, "\x01\x00") +
		sectionOf(4, "\x01\x70\x00\x80\x80\x02") + sectionOf(7, "\x01", nameOf("f"), "\x00\x00") + sectionOf(10, "\x01\x02\x00\x0b"))
	a := load(t, h, "a", code, func(m *manifest.App) { m.Limits.TimeMS = 20 })
	if _, err := call(t, a, "f", `{}`); err != nil {
		t.Fatal(err)
	}
	var has memoryUse
	if !h.memory.admit(&has, 3<<20) {
		t.Fatal("there is no room")
	}
	_, err := call(t, a, "f", `{}`)
	fault(t, "no room", err, FaultBusy, "no memory left")
	h.memory.dismiss(&has, 3<<20)
	if _, err := call(t, a, "f", `{}`); err != nil || h.memory.beside != 0 {
		t.Errorf("%v, %d bytes are counted", err, h.memory.beside)
	}
	h.Memory, h.memory = 1<<20, memoryBudget{}
	desc := manifest.NewApp("b")
	if _, err := h.Load(t.Context(), desc, code); err == nil || !strings.Contains(err.Error(), "tables and globals") {
		t.Errorf("an instance that never fits: %v", err)
	}
}

// TestLargeResults: those lie where memory does, one at a time for each instance.
func TestLargeResults(t *testing.T) {
	h := newHost(t, Compiler)
	h.Memory = 64 << 20
	a := load(t, h, "guest", guest(t))
	long := strings.Repeat("x", 100<<10)
	got := script(t, a, fmt.Sprintf(`[["key_generate",1,"k"], ["encrypt","k","","",%q], ["decrypt","k","","",{"$":1}],
		["kv_put","small","value"], ["encrypt","k","","",%q], ["kv_get","small"]]`, long, long))
	if c := codes(got); !slices.Equal(c, []int32{0, 100<<10 + 28, 100 << 10, 0, 100<<10 + 28, 5}) {
		t.Fatalf("codes %v", c)
	}
	if string(got[2].Result) != long || string(got[5].Result) != "value" {
		t.Error("a large result is not what went in")
	}
	if n := h.memory.inUse(); n != 0 {
		t.Errorf("%d bytes are in use", n)
	}
}
