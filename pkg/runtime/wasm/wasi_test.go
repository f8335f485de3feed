package wasm

import (
	"context"
	"encoding/binary"
	"math"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/testdata/guests"
)

// TestWASI runs a guest that asks for each function of WASI what its description says,
// hundreds of questions, and has nothing to report.
func TestWASI(t *testing.T) {
	code, err := os.ReadFile(guests.Build(t, "wasi-c"))
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []EngineKind{Compiler, Interpreter} {
		a := load(t, newHost(t, engine), "asks", code)
		for range 2 { // the files of the first are gone
			r, err := a.Run(context.Background(), Caller{}, &Request{Method: "GET", Header: http.Header{}})
			if err != nil {
				t.Fatalf("%s: %v", engine, err)
			}
			if text := string(r.Body); !strings.HasPrefix(text, "asked 3") || !strings.HasSuffix(text, ", failed 0\n") {
				t.Errorf("%s: %s", engine, text)
			}
		}
	}
}

// TestPollPast: a time that is over does not hide that a file is ready.
func TestPollPast(t *testing.T) {
	a := load(t, newHost(t, Interpreter), "polls", assemble("", "", ""))
	in, err := a.newInstance(t.Context(), Caller{}, a.deadline(), stdio{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	const from, to, count = 0, 1024, 2048
	b := make([]byte, 3*subscriptionSize)
	for i, kind := range []byte{eventClock, eventRead, eventClock} {
		s := b[i*subscriptionSize:]
		s[0], s[8] = byte(i), kind
		if kind == eventClock {
			binary.LittleEndian.PutUint64(s[24:], uint64(i+1)) // ns after 1970
			s[40] = 1
		}
	}
	in.mod.Memory().Write(from, b)
	if errno := in.poll(in.mod.Memory(), from, to, 3, count); errno != wasiSuccess {
		t.Fatal(errno)
	}
	if n, _ := in.mod.Memory().ReadUint32Le(count); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}

// TestPoll: what poll_oneoff refuses, and that a guest that waits ends with its time.
func TestPoll(t *testing.T) {
	a := load(t, newHost(t, Interpreter), "polls", assemble("", "", ""), func(m *manifest.App) { m.Limits.TimeMS = 50 })
	in, err := a.newInstance(t.Context(), Caller{}, a.deadline(), stdio{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	const from, to, count = 0, 1024, 2048
	for name, c := range map[string]struct {
		sub                []byte // the kind, and from 16 on clock, time and flags
		from, to, n, count uint32
		want               uint32
	}{
		"nothing":                {n: 0, from: from, to: to, count: count, want: wasiInval},
		"too much":               {n: maxSubscriptions + 1, from: from, to: to, count: count, want: wasiInval},
		"more than a number has": {n: 1<<32/subscriptionSize + 1, from: from, to: to, count: count, want: wasiInval},
		"from outside":           {n: 2, from: 65536 - subscriptionSize, to: to, count: count, want: wasiFault},
		"to outside":             {n: 1, from: from, to: 65530, count: count, want: wasiFault},
		"count outside":          {n: 1, from: from, to: to, count: 65533, want: wasiFault},
		"another kind":           {sub: []byte{3}, n: 1, from: from, to: to, count: count, want: wasiInval},
		"another clock":          {sub: []byte{eventClock, 2}, n: 1, from: from, to: to, count: count, want: wasiInval},
		"another flag":           {sub: []byte{eventClock, 0, 2}, n: 1, from: from, to: to, count: count, want: wasiInval},
		"a file":                 {sub: []byte{eventRead}, n: 1, from: from, to: to, count: count},
		"no time":                {sub: []byte{eventClock}, n: 1, from: from, to: to, count: count},
	} {
		b := make([]byte, subscriptionSize)
		for i, at := range []int{8, 16, 40}[:len(c.sub)] {
			b[at] = c.sub[i]
		}
		in.mod.Memory().Write(from, b)
		if got := in.poll(in.mod.Memory(), c.from, c.to, c.n, c.count); got != c.want {
			t.Errorf("%s: %d, not %d", name, got, c.want)
		}
	}
	b := make([]byte, subscriptionSize)
	binary.LittleEndian.PutUint64(b[24:], math.MaxUint64)
	in.mod.Memory().Write(from, b)
	defer func() {
		f, _ := recover().(*Fault)
		if f == nil || f.Kind != FaultTime {
			t.Errorf("waiting ends with %v", f)
		}
	}()
	in.poll(in.mod.Memory(), from, to, 1, count)
	t.Error("waiting has ended")
}
