package kernel

import (
	"testing"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
	wall "github.com/enclaveos/eos/pkg/wall"
)

// A host that asks is told once for each time that it does, by the next thread that
// comes back from a sleep, which does not wait for who reads the program's output.
func TestTellStats(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	th := threadAt(1)
	th.park(forever, 0) // there are no rings yet
	desc, in, out := e.channels(t, ring.MinCapacity)
	if r := initChannel(&rpc, desc); r != 0 {
		t.Fatal(r)
	}
	e.user(t, largeSize)
	told := func() int {
		t.Helper()
		n := 0
		for ; in.Next() == ring.OK; n++ {
			b := make([]byte, in.Len())
			in.Copy(b, 0)
			in.Advance()
			r, f := wire.ParseRequest(b)
			if f != wire.Sound || r.ID != 0 || r.Method != wire.Stats || le(r.Payload[:8]) != mem.used*pageSize || le(r.Payload[8:16]) < largeSize {
				t.Errorf("request %+v, %v", r, f)
			}
		}
		in.Release()
		return n
	}
	th.park(forever, 0)
	if n := told(); n != 0 {
		t.Errorf("%d statistics that nobody has asked for", n)
	}
	for range 3 {
		out.Ask()
		th.park(forever, 0)
		threadAt(2).park(forever, 0)
		if n := told(); n != 1 {
			t.Errorf("%d statistics for a question", n)
		}
	}
	for _, c := range e.ocalls {
		if wall.Notify(c.kind) == wall.NotifyRPC && c.a1 != wall.RPCOnly {
			t.Errorf("ocall_notify %+v", c)
		}
	}
}
