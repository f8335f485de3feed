package main

import (
	"fmt"

	"github.com/enclaveos/eos/pkg/runner/proxy"
)

// hostNetwork moves bytes between the host's sockets and the enclave.
type hostNetwork struct{ *proxy.Proxy }

func openNetwork(u *ui, publish []string) (network, error) {
	var o proxy.Options
	for _, s := range publish {
		p, err := proxy.ParsePublish(s)
		if err != nil {
			return nil, usagef("--publish: %w", err)
		}
		o.Publish = append(o.Publish, p)
	}
	if len(publish) > 0 {
		o.Listening = func(asked, got string) { u.say("published", asked+" is "+got) }
	}
	p, err := proxy.New(o)
	return hostNetwork{p}, err
}

func (n hostNetwork) facts() []string {
	s := n.Stats()
	return []string{
		"connections", fmt.Sprintf("%d accepted, %d made, %d failed, %d at once", s.Accepted, s.Connected, s.Failed, s.Peak),
		"data rings", fmt.Sprintf("%s out, %s in, %d polls, %d waits, %d times full", humanSize(s.RingOut), humanSize(s.RingIn), s.Polls, s.Waits, s.Full),
	}
}
