package main

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/enclaveos/eos/pkg/runner/proxy"
)

// hostNetwork moves bytes between the host's sockets and the enclave.
type hostNetwork struct {
	*proxy.Proxy
	idle map[string]bool // published ports that the program has not listened on
}

func openNetwork(u *ui, publish []string) (network, error) {
	var o proxy.Options
	for _, s := range publish {
		p, err := proxy.ParsePublish(s)
		if err != nil {
			return nil, usagef("--publish: %w", err)
		}
		o.Publish = append(o.Publish, p)
	}
	n := hostNetwork{idle: make(map[string]bool)}
	for _, p := range o.Publish {
		n.idle[strconv.Itoa(int(p.Port))] = true
	}
	if len(publish) > 0 {
		// It is called by one at a time.
		o.Listening = func(asked, got string, err error) {
			if _, port, err := net.SplitHostPort(asked); err == nil {
				delete(n.idle, port)
			}
			if err != nil {
				u.warn("the program wants to listen on %s, which was to be %s: %v", asked, got, err)
				return
			}
			u.say("published", asked+" is "+got)
		}
	}
	var err error
	n.Proxy, err = proxy.New(o)
	return n, err
}

// ended says which --publish was for nothing. The program has ended.
func (n hostNetwork) ended(u *ui) {
	for _, port := range slices.Sorted(maps.Keys(n.idle)) {
		u.warn("the program has not listened on port %s, which was to be published", port)
	}
}

func (n hostNetwork) facts() []string {
	s := n.Stats()
	return []string{
		"connections", fmt.Sprintf("%d accepted, %d made, %d failed, %d at once", s.Accepted, s.Connected, s.Failed, s.Peak),
		"data rings", fmt.Sprintf("%s out, %s in, %d polls, %d waits, %d times full", humanSize(s.RingOut), humanSize(s.RingIn), s.Polls, s.Waits, s.Full),
	}
}
