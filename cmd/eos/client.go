package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/spf13/cobra"
)

// clientFlags are those of verbs that ask an enclave for something.
type clientFlags struct {
	trust      trustFlags
	leafOnly   bool
	serverName string
	token      string
	timeout    time.Duration
}

func (f *clientFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.token, "token", "", "`FILE` with the token to show, such as the operator's")
	fl.StringVar(&f.serverName, "server-name", "", "the `NAME` to ask for, if it is not the host's: an app's certificate")
	fl.BoolVar(&f.leafOnly, "leaf-only", false, "be content with the evidence in the server's certificate, which can be relayed")
	fl.DurationVar(&f.timeout, "timeout", time.Minute, "give up after this `TIME`")
	f.trust.add(cmd)
	completeFlagFiles(cmd, "token")
}

// maxAnswer bounds what a server can make us keep.
const maxAnswer = 64 << 20

// enclaveClient talks to one enclave, and only if it is one that is trusted.
type enclaveClient struct {
	base  string // "https://host:port"
	http  http.Client
	token string
}

// open makes a client for the server at hostport.
func (f *clientFlags) open(u *ui, hostport string) (*enclaveClient, error) {
	c := &enclaveClient{base: "https://" + hostport}
	if f.token != "" {
		b, err := readLimited(f.token, 1<<16)
		if err != nil {
			return nil, err
		}
		if c.token = strings.TrimSpace(string(b)); c.token == "" || strings.ContainsFunc(c.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("%s does not hold one token", f.token)
		}
	}
	if !f.trust.given() {
		return nil, withHint(usagef("nobody has said which enclave is trusted"), "--mrenclave APP.sgxs is that image, --mrsigner KEY what its owner has signed, --policy FILE says everything")
	}
	trust, err := f.trust.trust(u, c.base)
	if err != nil {
		return nil, err
	}
	config := ratls.Config{Trust: trust, ServerName: f.serverName, Timeout: f.timeout}
	if f.leafOnly {
		config.Proof = ratls.ProofLeaf
	}
	client, err := ratls.NewClient(config)
	if err != nil {
		return nil, trustError(err)
	}
	c.http = http.Client{
		Transport: client.Transport(),
		// Another place is another enclave, which nobody has named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// trustError says why an enclave is not trusted, and what to do about it.
func trustError(err error) error {
	var refused *ratls.RefusedError
	var step *attest.Error
	var network *net.OpError
	switch {
	case errors.As(err, &refused) && errors.As(err, &step):
		hint := cmp.Or(trustHints[step.Step], step.Hint, "eos verify tells all about it")
		return withHint(fmt.Errorf("the enclave is not trusted: %w", refused.Err), "%s", hint)
	case errors.As(err, &network) && network.Op == "dial":
		return withHint(err, "eos run serves an image there")
	}
	return err
}

// trustHints are what the flags can do about a step that refused.
var trustHints = map[attest.Step]string{
	attest.StepPCKChain:        "--allow-software-platform accepts this machine's software platform, --root FILE the platforms of another root",
	attest.StepPolicyDebug:     "eos sign signs the image for production; --allow-debug accepts an enclave whose memory its host can read",
	attest.StepPolicyMREnclave: "another image answers: --mrenclave IMAGE accepts it",
	attest.StepPolicyMRSigner:  "somebody else has signed it: --mrsigner KEY accepts who has",
	attest.StepCollateral:      "--pccs URL asks a service for it, --collateral FILE reads it",
}

// untilInterrupt is a context that ends with the first signal or after the timeout.
func (f *clientFlags) untilInterrupt() (context.Context, func()) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	return ctx, func() { cancel(); stop() }
}

// answer is what an enclave has said.
type answer struct {
	status int
	body   []byte
	peer   *ratls.Peer
}

// ask makes a request. A body makes it a POST of JSON. The error is for no answer
// at all.
func (c *enclaveClient) ask(ctx context.Context, path string, body []byte) (*answer, error) {
	return c.send(ctx, path, body, nil)
}

// send is ask, of which a progress counts the body.
func (c *enclaveClient) send(ctx context.Context, path string, body []byte, p *progress) (*answer, error) {
	method, content := http.MethodGet, io.Reader(nil)
	if body != nil {
		method, content = http.MethodPost, bytes.NewReader(body)
	}
	if p != nil {
		content = io.TeeReader(content, p)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.ContentLength = int64(len(body))
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		// A connection may notice the deadline before the context does.
		if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, withHint(fmt.Errorf("%s does not answer in time", c.base), "--timeout TIME waits longer")
		}
		return nil, trustError(err)
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1)); err != nil {
		return nil, err
	}
	if len(a.body) > maxAnswer {
		return nil, fmt.Errorf("the answer has more than %d MiB", maxAnswer>>20)
	}
	peer, ok := ratls.ResponsePeer(resp)
	if !ok {
		return nil, errors.New("the answer came over a connection that proves nothing")
	}
	a.peer = peer
	return a, nil
}

// fault is what an answer says went wrong; nil for a success.
func (a *answer) fault() error {
	if a.status/100 == 2 {
		return nil
	}
	var said struct{ Error string }
	text := strings.TrimSpace(string(a.body[:min(len(a.body), 1000)]))
	if json.Unmarshal(a.body, &said) == nil && said.Error != "" {
		text = said.Error
	}
	if text == "" {
		text = http.StatusText(a.status)
	}
	err := fmt.Errorf("%s", oneLine(text))
	switch a.status {
	case http.StatusUnauthorized:
		return withHint(err, "--token FILE shows a token: the operator's is in the state directory of eos run")
	case http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return err
	case http.StatusNotFound:
		return withHint(err, "eos status shows what is there")
	case http.StatusConflict:
		return withHint(err, "eos app list shows what is there, eos app unload takes an app out")
	}
	return err
}
