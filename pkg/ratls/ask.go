package ratls

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
)

// askSession does the session step: it challenges the server, checks the answer, and
// answers the server's own challenge if it has one. evidence is what the leaf proved,
// or nil. A result may come with an error, and has the facts then.
func (c *Client) askSession(ctx context.Context, t *tls.Conn, host string, evidence *attest.Result) (*attest.Result, error) {
	state := t.ConnectionState()
	leaf := state.PeerCertificates[0]
	var context [32]byte
	rand.Read(context[:]) // never fails
	hctx, err := exported(&state, serverLabel, context)
	if err != nil {
		return nil, err
	}
	link := &link{t: t, r: bufio.NewReaderSize(t, 4096), host: host}
	key := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	var resp response
	err = link.ask(ctx, request{
		V: messageVersion, Mode: modeChallenge,
		Leaf: encoding.EncodeToString(key[:]), Context: encoding.EncodeToString(context[:]),
	}, &resp)
	if err != nil {
		return nil, err
	}
	quote, err := resp.check(c.cfg.Trust.now())
	if err != nil {
		return nil, err
	}
	result, err := c.cfg.Trust.verify(ctx, quote, SessionReportData(leaf.RawSubjectPublicKeyInfo, context, hctx), claims(leaf))
	if err != nil {
		return result, err
	}
	if evidence != nil && !sameEnclave(evidence, result) {
		return result, &attest.Error{
			Step: StepBinding, What: "the enclave in the certificate and the one in the session are different ones",
			Want: measurement(evidence), Got: measurement(result),
		}
	}
	if resp.ClientEvidence == clientEvidenceRequired {
		if err := c.present(ctx, link, &state, *resp.ClientContext); err != nil {
			return result, err
		}
	}
	return result, nil
}

// measurement is the text of a verified quote's measurement.
func measurement(r *attest.Result) string {
	if r.Quote.TD != nil {
		return fmt.Sprintf("MRTD %x", r.Quote.TD.MRTD)
	}
	return "MRENCLAVE " + r.Quote.Report.MREnclave.String()
}

// sameEnclave reports whether two verified quotes are of one enclave, or TD.
func sameEnclave(a, b *attest.Result) bool {
	x, y := a.Quote.Report, b.Quote.Report
	if x == nil || y == nil {
		return x == y && a.Quote.TD.MRTD == b.Quote.TD.MRTD && a.Quote.TD.RTMR == b.Quote.TD.RTMR
	}
	return x.MREnclave == y.MREnclave && x.MRSigner == y.MRSigner && x.ISVProdID == y.ISVProdID &&
		x.ISVSVN == y.ISVSVN && x.Attributes == y.Attributes && x.ConfigID == y.ConfigID && x.ConfigSVN == y.ConfigSVN
}

// check checks the form of an answer to a challenge.
func (r *response) check(now time.Time) ([]byte, error) {
	bad := func(what, want, got string) error {
		return &attest.Error{Step: StepSession, What: what, Want: want, Got: got}
	}
	switch {
	case r.V != messageVersion:
		return nil, bad("version of the answer", fmt.Sprint(messageVersion), fmt.Sprint(r.V))
	case r.Mode != modeChallenge:
		return nil, bad("mode of the answer", modeChallenge, fmt.Sprintf("%.32q", r.Mode))
	case r.TEE != teeSGX:
		return nil, bad("kind of the evidence", teeSGX, fmt.Sprintf("%.32q", r.TEE))
	case r.GPUEvidence != nil:
		return nil, bad("evidence of a GPU, which is not read here", "", "")
	case r.ClientEvidence != clientEvidenceNone && r.ClientEvidence != clientEvidenceRequired:
		return nil, bad("client_evidence", clientEvidenceNone+" or "+clientEvidenceRequired, fmt.Sprintf("%.32q", r.ClientEvidence))
	case (r.ClientContext != nil) != (r.ClientEvidence == clientEvidenceRequired):
		return nil, bad("client_context belongs to client_evidence \"required\"", "", "")
	}
	at, err := ParseQuoteTime(r.QuoteTime)
	if err != nil {
		return nil, &attest.Error{Step: StepSession, What: "quote_time", Err: err}
	}
	if d := now.Sub(at); d < -clockSkew || d > clockSkew+time.Minute {
		return nil, bad("the time of an answer that is new", QuoteTime(now), r.QuoteTime)
	}
	quote, err := encoding.DecodeString(r.Quote)
	if err != nil {
		return nil, &attest.Error{Step: StepSession, What: "the quote in the answer", Err: err}
	}
	return quote, nil
}

// present proves this session to a server that asks for it.
func (c *Client) present(ctx context.Context, l *link, s *tls.ConnectionState, clientContext string) error {
	a := c.cfg.Attester
	if a == nil {
		return &attest.Error{Step: StepSession, What: "the server wants evidence of the client, which is no enclave (Config.Attester)"}
	}
	context, ok := decode32(clientContext)
	if !ok {
		return &attest.Error{Step: StepSession, What: "client_context is not 32 bytes in base64url"}
	}
	mine, ok := l.shown()
	if !ok {
		return &attest.Error{Step: StepSession, What: "the server wants evidence of the client and did not ask for its certificate"}
	}
	hctx, err := exported(s, clientLabel, context)
	if err != nil {
		return err
	}
	quote, err := a.quoteFor(ctx, SessionReportData(mine.spki(), context, hctx))
	if err != nil {
		return err
	}
	return l.post(ctx, request{
		V: messageVersion, Mode: modePresent, Context: clientContext,
		TEE: teeSGX, Quote: encoding.EncodeToString(quote), QuoteTime: QuoteTime(a.now()),
	}, nil)
}

// shown is the leaf that the client has shown on this connection.
func (l *link) shown() (*leaf, bool) {
	c, ok := l.t.NetConn().(*clientConn)
	if !ok || c.mine == nil {
		return nil, false
	}
	return c.mine, true
}

// clientLeaf is the leaf of the platform, for a client.
func (a *Attester) clientLeaf(ctx context.Context) (*leaf, error) {
	for {
		is := a.state.Load()
		if is == nil {
			return nil, errors.New("ratls: the enclave has no identity yet")
		}
		l, err := a.take(ctx, is.platform[0])
		if !errors.Is(err, errRetired) {
			return l, err
		}
	}
}

// link speaks HTTP/1.1 over a connection that nobody else has yet.
type link struct {
	t    *tls.Conn
	r    *bufio.Reader
	host string
}

// A server that has no quote to give at the moment is asked again, each time after twice
// the pause and a bit.
const (
	maxAsks    = 5
	firstPause = 200 * time.Millisecond
)

// ask posts a challenge until there is an answer to it, or a refusal.
func (l *link) ask(ctx context.Context, q request, to *response) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := l.post(ctx, q, to)
		if busy := (*busyError)(nil); !errors.As(err, &busy) || n == maxAsks {
			return err
		}
		select {
		case <-time.After(pause + mathrand.N(pause)):
			pause *= 2
		case <-ctx.Done():
			return err
		}
	}
}

// busyError is the answer of a server that has no quote to give at the moment.
type busyError struct{ err *attest.Error }

func (e *busyError) Error() string { return e.err.Error() }
func (e *busyError) Unwrap() error { return e.err }

// post sends one message and reads the answer into to, or no answer if to is nil. The
// server may not send anything behind it.
func (l *link) post(ctx context.Context, q request, to *response) error {
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+hostInURL(l.host)+SessionPath, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "eos")
	if err := req.Write(l.t); err != nil {
		return &attest.Error{Step: StepSession, What: "the server does not take the challenge", Err: err}
	}
	bounded := &io.LimitedReader{R: l.t, N: maxMessageSize + 16<<10}
	l.r.Reset(bounded)
	resp, err := http.ReadResponse(l.r, req)
	if err != nil {
		return &attest.Error{Step: StepSession, What: "the server does not answer the challenge", Err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxMessageSize+1))
	switch {
	case err != nil:
		return &attest.Error{Step: StepSession, What: "the answer breaks off", Err: err}
	case len(b) > maxMessageSize:
		return &attest.Error{Step: StepSession, What: "the answer is too long"}
	}
	if err := answered(resp, b, to); err != nil {
		return err
	}
	if resp.Close {
		return &attest.Error{Step: StepSession, What: "the server closes the connection behind its answer"}
	}
	if l.r.Buffered() != 0 {
		return &attest.Error{Step: StepSession, What: "the server sent something behind its answer that nobody asked for"}
	}
	return nil
}

// answered reads an answer of the status that belongs to it.
func answered(resp *http.Response, body []byte, to *response) error {
	want := http.StatusOK
	if to == nil {
		want = http.StatusNoContent
	}
	if resp.StatusCode != want {
		e := &attest.Error{Step: StepSession, What: "the session step", Want: fmt.Sprint(want), Got: fmt.Sprint(resp.StatusCode)}
		var r refusal
		if parseMessage(body, &r) == nil && r.Error != "" {
			e.Got += fmt.Sprintf(" %.200q", r.Error)
		} else if resp.StatusCode == http.StatusNotFound {
			e.Hint = "a server without the session step can only prove its key: ProofLeaf accepts that"
		}
		if resp.StatusCode == http.StatusServiceUnavailable {
			return &busyError{e}
		}
		return e
	}
	if to == nil {
		return nil
	}
	if err := parseMessage(body, to); err != nil {
		return &attest.Error{Step: StepSession, What: "the answer", Err: err}
	}
	return nil
}

func hostInURL(host string) string {
	for _, c := range host {
		if c == ':' {
			return "[" + host + "]"
		}
	}
	return host
}
