package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/manifest"
)

func TestValues(t *testing.T) {
	a := sharedGuest(t)
	for _, c := range []struct{ function, params, want string }{
		{"echo", `{"b":true,"i":-2147483648,"u":4294967295,"l":"-9223372036854775808","m":18446744073709551615,
			"f":1.5,"d":-0.25,"s":"a\u0000ß\ud83d\ude00","y":"AP8=","j":{"k":[1,null]}}`,
			`"true -2147483648 4294967295 -9223372036854775808 18446744073709551615 1.5 -0.25a\u0000ß😀[0 255]{\"k\":[1,null]}"`},
		{"bool", `{"v":2}`, "true"},
		{"bool", `{"v":0}`, "false"},
		{"u64", `{"v":18446744073709551615}`, "18446744073709551615"},
		{"f64", `{"v":4}`, "0.25"},
		{"bytes", `{"n":3}`, `"AAAA"`},
		{"bytes", `{"n":0}`, `""`},
		{"say", `{"text":"x"}`, "null"},
		{"greet", `{"name":""}`, `"hello, "`},
	} {
		if got, err := call(t, a, c.function, c.params); err != nil || got != c.want {
			t.Errorf("%s(%s) = %s, %v; want %s", c.function, c.params, got, err, c.want)
		}
	}
	for _, c := range []struct {
		function, params string
		kind             FaultKind
		words            string
	}{
		{"nothing", `{}`, FaultUnknown, "no function nothing"},
		{"eos_alloc", `{"p0":1}`, FaultUnknown, "no function"},
		{"_initialize", `{}`, FaultUnknown, "no function"},
		{"add", `{"p0":1}`, FaultArgument, "p1 is missing"},
		{"add", `{"p0":1,"p1":2,"p2":3}`, FaultArgument, "no parameter p2"},
		{"add", `{"p0":1,"p1":2147483648}`, FaultArgument, "is no s32"},
		{"add", `{"p0":1,"p1":1.5}`, FaultArgument, "is no s32"},
		{"add", `{"p0":1,"p1":"1"}`, FaultArgument, "is no s32"},
		{"add", `{"p0":1,"p1":null}`, FaultArgument, "is no s32"},
		{"u64", `{"v":-1}`, FaultArgument, "is no u64"},
		{"f64", `{"v":null}`, FaultArgument, "is no f64"},
		{"f64", `{"v":1e999}`, FaultArgument, "is no f64"},
		{"f64", `{"v":0}`, FaultGuest, "not a number in JSON"},
		{"bool", `{"v":true}`, FaultArgument, "is no s32"},
		{"greet", `{"name":5}`, FaultArgument, "is no string"},
		{"greet", `{"name":null}`, FaultArgument, "is no string"},
		{"raw", `{"text":"x"}`, FaultGuest, "not UTF-8"},
		{"packed", `{"ptr":4294967295,"len":5}`, FaultGuest, "outside the app's memory"},
		{"refuse", `{"text":"not today"}`, FaultRefused, "not today"},
		{"crash", `{}`, FaultGuest, "trapped: wasm error: unreachable"},
		{"exit", `{"code":3}`, FaultGuest, "code 3"},
	} {
		_, err := call(t, a, c.function, c.params)
		fault(t, c.function+c.params, err, c.kind, c.words)
	}
}

// TestFresh: nothing of one call is there in the next.
func TestFresh(t *testing.T) {
	a := sharedGuest(t)
	for range 3 {
		if got, err := call(t, a, "count", `{}`); err != nil || got != "1" {
			t.Errorf("count = %s, %v", got, err)
		}
	}
	// Memory is used again, but never with what another instance has left in it.
	m := &memoryBudget{}
	var has memoryUse
	b := m.take(&has, 100, 200)
	copy(b[:200], strings.Repeat("secret", 33))
	m.give(&has, b[:200])
	again := m.take(&has, 150, 150)
	if strings.Trim(string(again[:200]), "\x00") != "" || &again[0] != &b[0] {
		t.Errorf("memory that is used again is %q", again[:200])
	}
}

func TestLimits(t *testing.T) {
	quick := func(l *manifest.Limits) { l.TimeMS = 200 }
	a := with(t, quick)
	begun := time.Now()
	_, err := call(t, a, "spin", `{}`)
	fault(t, "spin", err, FaultTime, "200 ms")
	_, err = call(t, a, "sleep", `{"ms":3600000}`)
	fault(t, "sleep", err, FaultTime, "200 ms")
	if d := time.Since(begun); d > time.Minute {
		t.Errorf("two calls of 200 ms took %v", d)
	}

	a = with(t, func(l *manifest.Limits) { l.TimeMS, l.Fuel = 60_000, 30_000_000 })
	_, err = call(t, a, "spin", `{}`)
	fault(t, "spin", err, FaultFuel, "fuel of 30000000")
	_, err = call(t, a, "deep", `{"n":-1}`)
	if err == nil {
		t.Error("endless recursion has ended well")
	}

	a = with(t, func(l *manifest.Limits) { l.OutputBytes, l.Fuel = 100, 10_000_000_000 })
	if _, err := call(t, a, "bytes", `{"n":100}`); err != nil {
		t.Error(err)
	}
	_, err = call(t, a, "bytes", `{"n":101}`)
	fault(t, "bytes", err, FaultOutput, "101 bytes")
	_, err = call(t, a, "packed", `{"ptr":0,"len":101}`)
	fault(t, "packed", err, FaultOutput, "101 bytes")

	_, err = call(t, a, "eat", `{"mib":100}`) // more than the 64 MiB that it may have
	fault(t, "eat", err, FaultGuest, "trapped: wasm error: unreachable")
	if used := a.budget.inUse(); used != 0 {
		t.Errorf("%d bytes of memory are still in use", used)
	}
}

// TestMemoryBudget: growth that does not fit fails, and instances that do not fit wait.
func TestMemoryBudget(t *testing.T) {
	h := newHost(t, Interpreter)
	h.Memory = 4 << 16
	// f(n): memory.grow n
	a := load(t, h, "grow", assemble("\x7f", "\x7f", "\x20\x00\x40\x00"), func(m *manifest.App) { m.Limits.TimeMS = 50 })
	for range 2 {
		// What grows does so where it lies; one app has three quarters at most.
		for params, want := range map[string]string{`{"p0":0}`: "1", `{"p0":1}`: "1", `{"p0":2}`: "1", `{"p0":3}`: "-1", `{"p0":9}`: "-1"} {
			if got, err := call(t, a, "f", params); err != nil || got != want {
				t.Errorf("grow(%s) = %s, %v; want %s", params, got, err, want)
			}
		}
	}
	var has memoryUse
	all := h.memory.take(&has, 4<<16, 4<<16)
	if all == nil || h.memory.take(&has, 1, 1) != nil {
		t.Error("there is more memory than there is")
	}
	_, err := call(t, a, "f", `{"p0":0}`)
	fault(t, "no room", err, FaultBusy, "no memory left")
	a.Limits.TimeMS = 60_000
	done := make(chan error)
	go func() {
		_, err := call(t, a, "f", `{"p0":0}`)
		done <- err
	}()
	h.memory.give(&has, all)
	if err := <-done; err != nil {
		t.Errorf("an instance that has waited: %v", err)
	}
	if n := h.memory.inUse(); n != 0 {
		t.Errorf("%d bytes are in use", n)
	}
	// One app never has it all.
	first := h.memory.take(&has, 2<<16, 2<<16)
	if h.memory.take(&has, 2<<16, 2<<16) != nil {
		t.Error("one app has all memory")
	}
	var other memoryUse
	h.memory.give(&other, h.memory.take(&other, 2<<16, 2<<16))
	h.memory.give(&has, first)
	if len(h.memory.holes) != 1 || h.memory.inUse() != 0 {
		t.Errorf("what is left is %v", h.memory.holes)
	}
}

// TestNeighbours: while guests spin and recurse, others answer, and the garbage
// collector is not stopped.
func TestNeighbours(t *testing.T) {
	h := newHost(t, Compiler)
	short := func(m *manifest.App) { m.Limits.TimeMS, m.Limits.Concurrency = 20_000, 2 }
	// loop br 0 end; call 0
	bad := load(t, h, "bad", assemble("", "", "\x03\x40\x0c\x00\x0b"), short)
	deep := load(t, h, "deep", assemble("", "", "\x10\x00"), short)
	good := load(t, h, "good", assemble("\x7f", "\x7f", "\x20\x00"))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			_, err := bad.Call(ctx, Caller{}, "f", nil)
			fault(t, "spin", err, FaultTime, "") // over, or given up
		})
		wg.Go(func() {
			_, err := deep.Call(ctx, Caller{}, "f", nil)
			fault(t, "deep", err, FaultStack, "call stack")
		})
	}
	for i := range 200 {
		if got, err := call(t, good, "f", fmt.Sprintf(`{"p0":%d}`, i)); err != nil || got != fmt.Sprint(i) {
			t.Fatalf("a neighbour: %s, %v", got, err)
		}
		if i%50 == 0 {
			h.Log.Info("the collector runs")
			collect()
		}
	}
	cancel()
	wg.Wait()
}

// TestPlaces: calls beyond those that may run at a time wait, but not for ever.
func TestPlaces(t *testing.T) {
	a := load(t, newHost(t, Interpreter), "few", assemble("\x7f", "\x7f", "\x20\x00"), func(m *manifest.App) {
		m.Limits.TimeMS, m.Limits.Concurrency = 30, 1
	})
	a.places <- struct{}{}
	_, err := call(t, a, "f", `{"p0":1}`)
	fault(t, "a second call", err, FaultBusy, "1 calls under way")
	<-a.places
	if _, err := call(t, a, "f", `{"p0":1}`); err != nil {
		t.Error(err)
	}
}

// TestGivenUp: who gives up does not wait for the compiler.
func TestGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newHost(t, Interpreter).Load(ctx, manifest.NewApp("x"), assemble("", "", "")); !errors.Is(err, context.Canceled) && err != nil {
		t.Error(err)
	}
}

// TestGone: a caller who goes away ends the guest.
func TestGone(t *testing.T) {
	a := load(t, newHost(t, Interpreter), "bad", assemble("", "", "\x03\x40\x0c\x00\x0b"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := a.Call(ctx, Caller{}, "f", nil)
	fault(t, "a caller who goes", err, FaultTime, "gone")
}
