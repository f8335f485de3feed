package kvstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
)

// TestHostileDelay: who waits for a host that does not answer waits as long as it said.
func TestHostileDelay(t *testing.T) {
	for _, method := range []wire.Method{kvwire.Get, kvwire.MultiGet, kvwire.Commit} {
		h := newHost(t)
		want := fill(t, h)
		s, err := kvstore.Open(t.Context(), kvstore.Remote(h), master, uncached)
		if err != nil {
			t.Fatal(err)
		}
		table := s.Table("t")
		for k, v := range want { // brings the index into memory
			if got, err := table.Get(t.Context(), []byte(k)); err != nil || string(got) != v {
				t.Fatal(err)
			}
		}
		release, asked := make(chan struct{}), make(chan struct{}, 100)
		h.lie(func(m wire.Method, _ []byte, status int32, r []byte) (int32, []byte) {
			if m == method {
				asked <- struct{}{}
				<-release
			}
			return status, r
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			switch method {
			case kvwire.Get:
				_, err := kvstoreGet(ctx, table, "key 000")
				done <- err
			case kvwire.MultiGet:
				done <- table.Scan(ctx, nil, func(_, _ []byte) error { return nil })
			default:
				done <- table.Put(ctx, []byte("key 000"), nil)
			}
		}()
		<-asked
		cancel()
		if method == kvwire.Commit { // the caller goes, the commit goes on
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%#x: %v", uint16(method), err)
			}
		}
		close(release)
		if method != kvwire.Commit {
			<-done // Call itself heeds ctx (package rpc)
		}
		h.lie(nil)
		v := "value 0 of round 1"
		if method == kvwire.Commit {
			v = ""
		}
		if got, err := table.Get(t.Context(), []byte("key 000")); err != nil || string(got) != v {
			t.Errorf("%#x: %q, %v", uint16(method), got, err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func kvstoreGet(ctx context.Context, t *kvstore.Table, key string) ([]byte, error) {
	return t.Get(ctx, []byte(key))
}

// pipe is the enclave's end of an RPC channel whose host is f: it gets a request and
// gives the responses.
type pipe struct {
	f    func(r wire.Request) [][]byte
	out  chan []byte
	once sync.Once
	end  chan struct{}
}

func newPipe(f func(wire.Request) [][]byte) *pipe {
	return &pipe{f: f, out: make(chan []byte, 1000), end: make(chan struct{})}
}

func (p *pipe) Write(b []byte) (int, error) {
	r, fault := wire.ParseRequest(bytes.Clone(b))
	if fault != wire.Sound {
		return 0, fault
	}
	for _, m := range p.f(r) {
		p.out <- m
	}
	return len(b), nil
}

func (p *pipe) Read(b []byte) (int, error) {
	select {
	case m := <-p.out:
		return copy(b, m), nil
	case <-p.end:
		return 0, io.EOF
	}
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.end) })
	return nil
}

// TestHostileChannel: wrong ids, answers that come twice, frames of wrong lengths, and
// answers in another order, by the RPC client itself.
func TestHostileChannel(t *testing.T) {
	honest := func(h *host, r wire.Request) wire.Response {
		status, reply := h.answer(context.Background(), r.Method, r.Payload)
		return wire.Response{ID: r.ID, Status: status, Payload: reply}
	}
	for name, bend := range map[string]func(r wire.Response) [][]byte{
		"wrong id": func(r wire.Response) [][]byte {
			r.ID += 1 << 8
			return [][]byte{wire.AppendResponse(nil, r)}
		},
		"id of the kernel": func(r wire.Response) [][]byte {
			r.ID &^= 0xff
			return [][]byte{wire.AppendResponse(nil, r)}
		},
		"twice": func(r wire.Response) [][]byte {
			return [][]byte{wire.AppendResponse(nil, r), wire.AppendResponse(nil, r)}
		},
		"short frame": func(r wire.Response) [][]byte {
			b := wire.AppendResponse(nil, r)
			return [][]byte{b[:len(b)-1]}
		},
		"long frame": func(r wire.Response) [][]byte {
			return [][]byte{append(wire.AppendResponse(nil, r), 0)}
		},
		"length lies": func(r wire.Response) [][]byte {
			b := wire.AppendResponse(nil, r)
			binary.LittleEndian.PutUint32(b[12:], 1<<31)
			return [][]byte{b}
		},
		"empty frame": func(wire.Response) [][]byte { return [][]byte{{}} },
	} {
		h := newHost(t)
		want := fill(t, h)
		lying := false
		p := newPipe(func(r wire.Request) [][]byte {
			a := honest(h, r)
			if lying && r.Method == kvwire.Get {
				return bend(a)
			}
			return [][]byte{wire.AppendResponse(nil, a)}
		})
		c := rpc.New(p)
		s, err := kvstore.Open(t.Context(), kvstore.Remote(c), master, uncached)
		if err != nil {
			t.Fatal(err)
		}
		lying = true
		for _, k := range []string{"key 000", "key 017", "key 299"} {
			if v, err := kvstoreGet(t.Context(), s.Table("t"), k); err == nil && string(v) != want[k] {
				t.Errorf("%s: %q", name, v)
			}
		}
		if c.Err() == nil {
			t.Errorf("%s: the channel goes on", name)
		}
		if _, err := kvstoreGet(t.Context(), s.Table("t"), "key 100"); !told(err) {
			t.Errorf("%s: %v", name, err)
		}
		p.Close()
	}

	// Answers in the reverse order, of sixteen requests at a time.
	h := newHost(t)
	want := fill(t, h)
	var mu sync.Mutex
	var held []wire.Request
	reverse := false
	p := newPipe(func(r wire.Request) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		if !reverse || r.Method != kvwire.Get {
			return [][]byte{wire.AppendResponse(nil, honest(h, r))}
		}
		if held = append(held, r); len(held) < 16 {
			return nil
		}
		var answers [][]byte
		for i := len(held) - 1; i >= 0; i-- {
			answers = append(answers, wire.AppendResponse(nil, honest(h, held[i])))
		}
		held = nil
		return answers
	})
	s, err := kvstore.Open(t.Context(), kvstore.Remote(rpc.New(p)), master, uncached)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for k := range want {
		if _, err := kvstoreGet(t.Context(), s.Table("t"), k); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	reverse = true
	mu.Unlock()
	var readers sync.WaitGroup
	for i := range 16 {
		readers.Go(func() {
			k := fmt.Sprintf("key %03d", i*11)
			if v, err := kvstoreGet(t.Context(), s.Table("t"), k); err != nil || string(v) != want[k] {
				t.Errorf("%q is %q, %v", k, v, err)
			}
		})
	}
	readers.Wait()
}
