package wasm

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/manifest"
)

// TestPool: instances that are ready serve one call each, with that call's time and
// caller, and are gone with the app.
func TestPool(t *testing.T) {
	h := newHost(t, Interpreter)
	// The memory's first word counts the calls.
	a := load(t, h, "count", assemble("", "\x7f", "\x41\x00\x41\x00\x28\x02\x00\x41\x01\x6a\x36\x02\x00\x41\x00\x28\x02\x00"), func(m *manifest.App) { m.Limits.Pool = 2 })
	wait := func() {
		for len(a.pool.ready) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	for i := range 6 {
		wait()
		r, err := a.Call(t.Context(), Caller{}, "f", nil)
		if err != nil || string(r.Value) != "1" || r.Fuel != 8 {
			t.Fatalf("call %d: %v, %v", i, r, err)
		}
	}
	wait()
	end := time.Now().Add(time.Hour)
	in := a.pool.take(t.Context(), Caller{Role: "manager"}, end)
	if in.caller.Role != "manager" || in.ctx != t.Context() || in.end != end {
		t.Errorf("an instance that was ready has %v, %v", in.caller, in.end)
	}
	in.close()
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := h.memory.inUse(); n != 0 {
		t.Errorf("%d bytes are in use", n)
	}
}

// TestPoolGivesWay: instances that are ready leave the memory to calls that need it, and
// one that there is no memory for is not waited for.
func TestPoolGivesWay(t *testing.T) {
	h := newHost(t, Interpreter)
	h.Memory = 8 << 16
	// f(n): memory.grow n
	code := assemble("\x7f", "\x7f", "\x20\x00\x40\x00")
	ready := load(t, h, "ready", code, func(m *manifest.App) { m.Limits.Pool = 8 })
	for len(ready.pool.ready) < 6 { // three quarters of eight pages
		time.Sleep(time.Millisecond)
	}
	other := load(t, h, "other", code, func(m *manifest.App) { m.Limits.TimeMS = 60_000 })
	if got, err := call(t, other, "f", `{"p0":2}`); err != nil || got != "1" {
		t.Errorf("a neighbour that needs three pages: %s, %v", got, err)
	}
	for range 20 { // whether one is ready or not
		if got, err := call(t, ready, "f", `{"p0":1}`); err != nil || got != "1" {
			t.Fatalf("a call of the app itself: %s, %v", got, err)
		}
	}
	if err := ready.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := h.memory.inUse(); n != 0 {
		t.Errorf("%d bytes are in use", n)
	}
}

// TestPoolGivesBack: what an instance has counted before it was needed is not counted any
// more when it is gone, though its app is not.
func TestPoolGivesBack(t *testing.T) {
	h := newHost(t, Interpreter)
	h.Memory = 8 << 16
	a := load(t, h, "count", assemble("", "\x7f", "\x41\x00"), func(*manifest.App) {})
	all, stop := context.WithCancel(t.Context())
	defer stop()
	in, err := (&instance{app: a, spare: true, ctx: all, end: a.deadline(), left: a.Limits.Fuel}).make(stdio{})
	if err != nil {
		t.Fatal(err)
	}
	if f := in.hold(1000); f != nil {
		t.Fatal(f)
	}
	h.fetched.Add(500)
	in.fetchedAll = 500
	in.close()
	if n := h.fetched.Load(); n != 0 {
		t.Errorf("%d bytes are counted as fetched", n)
	}
	if n := h.memory.of(&a.memory).beside; n != 0 {
		t.Errorf("%d bytes are counted beside memory", n)
	}
}

// TestPoolOfCommand: a command has no instances before its request.
func TestPoolOfCommand(t *testing.T) {
	desc := manifest.NewApp("x")
	desc.Limits.Pool = 1
	code := []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x07\x0a\x01\x06_start\x00\x00\x0a\x04\x01\x02\x00\x0b")
	if _, err := newHost(t, Interpreter).Load(t.Context(), desc, code); err == nil || !strings.Contains(err.Error(), "limits.pool") {
		t.Errorf("a command with a pool: %v", err)
	}
}
