package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/spf13/cobra"
)

func statusCmd(u *ui) *cobra.Command {
	var (
		f      clientFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "status [FLAGS] [https://HOST[:PORT]]",
		Short: "ask an enclave that is trusted how it is",
		Long: `Ask the runtime in an enclave whether it is healthy and, with the operator's
token, whether it is ready and how its modules are. Without a server it is the
one at https://` + defaultServer + `.

  eos status --mrenclave app.sgxs --allow-software-platform
  eos status --policy prod.json --token operator-token https://notes.example.org`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hostport, err := serverOr(args)
			if err != nil {
				return err
			}
			c, err := f.open(u, hostport)
			if err != nil {
				return err
			}
			ctx, cancel := f.untilInterrupt()
			defer cancel()
			s, err := askStatus(ctx, c)
			if err != nil {
				return err
			}
			if asJSON {
				err = u.json(s)
			} else {
				err = printStatus(u, s)
			}
			if err == nil && (!s.Healthy || s.Ready != nil && !*s.Ready) {
				err = exitStatus(exitError)
			}
			return err
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f.add(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// enclaveStatus is what status reports, in the shape of its JSON.
type enclaveStatus struct {
	Server  string         `json:"server"`
	Peer    peerInfo       `json:"enclave"`
	Healthy bool           `json:"healthy"`
	Ready   *bool          `json:"ready,omitempty"` // for the operator
	Modules []moduleStatus `json:"modules,omitempty"`

	peer *ratls.Peer
}

type peerInfo struct {
	MREnclave string `json:"mrenclave"`
	MRSigner  string `json:"mrsigner"`
	Root      string `json:"root"`
	TCBStatus string `json:"tcb_status"`
	Proven    string `json:"proven"`
}

type moduleStatus struct {
	Name    string          `json:"name"`
	Details json.RawMessage `json:"details"`
}

func askStatus(ctx context.Context, c *enclaveClient) (*enclaveStatus, error) {
	a, err := c.ask(ctx, "/healthz", nil)
	if err != nil {
		return nil, err
	}
	var health struct{ Status string }
	if err := a.fault(); err != nil {
		return nil, fmt.Errorf("healthz: %w", err)
	}
	if err := json.Unmarshal(a.body, &health); err != nil {
		return nil, fmt.Errorf("healthz: %w", err)
	}
	s := &enclaveStatus{Server: c.base, Healthy: health.Status == "ok", peer: a.peer, Peer: newPeerInfo(a.peer)}
	if c.token == "" {
		return s, nil
	}
	// A runtime that is not ready says so with 503.
	if a, err = c.ask(ctx, "/readyz", nil); err != nil {
		return nil, err
	}
	var ready struct{ Status string }
	if a.status != http.StatusServiceUnavailable {
		if err := a.fault(); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(a.body, &ready); err != nil {
		return nil, fmt.Errorf("readyz: %w", err)
	}
	is := ready.Status == "ready"
	s.Ready = &is
	if a, err = c.ask(ctx, "/status", nil); err == nil {
		err = a.fault()
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(a.body, &s.Modules); err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return s, nil
}

func newPeerInfo(p *ratls.Peer) peerInfo {
	r := p.Result()
	i := peerInfo{Root: r.Root, TCBStatus: r.Status.String(), Proven: p.Proof().String()}
	if r.Quote != nil && r.Quote.Report != nil {
		i.MREnclave, i.MRSigner = r.Quote.Report.MREnclave.String(), r.Quote.Report.MRSigner.String()
	}
	return i
}

func printStatus(u *ui, s *enclaveStatus) error {
	facts := []string{
		"server", s.Server, "MRENCLAVE", s.Peer.MREnclave, "MRSIGNER", s.Peer.MRSigner,
		"platform", fmt.Sprintf("%s, TCB %s", oneLine(s.Peer.Root), s.Peer.TCBStatus), "proven", "the " + s.Peer.Proven,
		"healthy", yesNo(s.Healthy),
	}
	if s.Ready != nil {
		facts = append(facts, "ready", yesNo(*s.Ready))
	}
	if err := u.facts(facts...); err != nil {
		return err
	}
	if s.Ready == nil {
		u.hint("with --token and the operator's token there is more")
		return nil
	}
	u.printf("\n")
	w := u.table()
	fmt.Fprint(w, "module\tstatus\n")
	for _, m := range s.Modules {
		fmt.Fprintf(w, "%s\t%s\n", oneLine(m.Name), detailText(m.Details))
	}
	return w.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// detailText writes a module's details on a line: the status first, then the rest by
// name.
func detailText(details json.RawMessage) string {
	var d map[string]json.RawMessage
	if json.Unmarshal(details, &d) != nil {
		return oneLine(string(details))
	}
	var words []string
	for name, v := range d {
		var text string
		if json.Unmarshal(v, &text) != nil {
			text = string(v)
		}
		if name == "status" {
			continue
		}
		words = append(words, name+" "+text)
	}
	slices.Sort(words)
	var status string
	if err := json.Unmarshal(d["status"], &status); err == nil {
		words = slices.Insert(words, 0, status)
	}
	return oneLine(strings.Join(words, ", "))
}
