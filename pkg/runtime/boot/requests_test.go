package boot

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runtime/helloworld"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

// Requests in progress are answered when the end comes.
func TestDrain(t *testing.T) {
	slow := &slowModule{begun: make(chan struct{}), finish: make(chan struct{})}
	e := serve(t, new(disk), testConfig(), slow)
	c := e.client(t)
	answer := make(chan *answered, 1)
	go func() { answer <- e.ask(t, c, "POST", "/data", "", "x") }()
	<-slow.begun
	e.end()
	close(slow.finish)
	if got := <-answer; got.StatusCode != 200 || got.body != "done" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	err := <-e.ended
	if e.ended <- err; err != nil {
		t.Error(err)
	}
}

type slowModule struct{ begun, finish chan struct{} }

func (*slowModule) Name() string { return "slow" }
func (s *slowModule) Handle(context.Context, *module.Request) (*module.Response, error) {
	close(s.begun)
	<-s.finish
	return module.Text("done"), nil
}

func TestBodies(t *testing.T) {
	e := serve(t, new(disk), testConfig(), helloworld.Module{})
	c := e.client(t)
	if got := e.ask(t, c, "POST", "/data", "", strings.Repeat("x", maxData)); got.StatusCode != 200 || len(got.body) != maxData {
		t.Errorf("the longest body: %d, %d bytes", got.StatusCode, len(got.body))
	}
	req, _ := http.NewRequest("POST", e.url+"/data", io.LimitReader(zeros{}, maxData+1))
	req.ContentLength = -1
	if resp, err := c.Do(req); err == nil {
		resp.Body.Close()
		if resp.StatusCode != 413 {
			t.Errorf("a longer one in chunks: %d", resp.StatusCode)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
