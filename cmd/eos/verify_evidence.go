package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/enclaveos/eos/cmd/eos/evidence"
	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/measure"
	"github.com/spf13/cobra"
)

// evidenceFlags say what is checked besides who is trusted.
type evidenceFlags struct {
	trust    trustFlags
	leafOnly bool
	server   string
	expires  string
	manifest string
	html     string
	at       string
}

func (f *evidenceFlags) add(cmd *cobra.Command) {
	f.trust.add(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.leafOnly, "leaf-only", false, "be content with the evidence in a server's certificate, which can be relayed")
	fl.StringVar(&f.server, "server-name", "", "the `NAME` to ask for, if it is not the host's: an app's certificate")
	fl.StringVar(&f.expires, "expires-within", "", "fail if anything ends within this `TIME`, such as 7d or 12h; a server's own certificate, which it renews, only if that is overdue")
	fl.StringVar(&f.manifest, "config-manifest", "", "recompute the configuration's root from this `FILE`; \"fetch\" asks the server for it")
	fl.StringVar(&f.html, "html", "", "also write the report as one page to `FILE`")
	fl.StringVar(&f.at, "at", "", "judge evidence in a file as of this `TIME`, such as 2026-03-01 or 2026-03-01T12:00:00Z")
	completeFlagFiles(cmd, "config-manifest", "json")
	completeFlagFiles(cmd, "html", "html")
}

// given reports whether a flag was given that is for evidence.
func (f *evidenceFlags) given() bool {
	return f.trust.given() || f.leafOnly || f.server != "" || f.expires != "" || f.manifest != "" || f.html != "" || f.at != ""
}

// Steps that refuse and are no others' but this command's.
const (
	stepManifest attest.Step = "config-manifest"
	stepExpiry   attest.Step = "expires-within"
)

// examination is a verification in progress.
type examination struct {
	u      *ui
	f      *evidenceFlags
	trust  ratls.Trust
	within time.Duration
	shown  bool // by a server: the certificate is not one in a file
	report *evidence.Report
}

func (f *evidenceFlags) examine(u *ui, subject, server string) (*examination, error) {
	within, err := parseDays("expires-within", f.expires)
	if err != nil {
		return nil, err
	}
	trust, err := f.trust.trust(u, server)
	if err != nil {
		return nil, err
	}
	at := time.Now()
	if f.at != "" {
		if at, err = parseTime(f.at); err != nil {
			return nil, err
		}
		trust.Verifier.Now = func() time.Time { return at }
	}
	return &examination{u: u, f: f, trust: trust, within: within, report: evidence.New(subject, at)}, nil
}

// parseTime is a day or a moment.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("--at %s: want a time such as 2026-03-01 or 2026-03-01T12:00:00Z", s)
}

// verifyServer connects to a server, and has it prove the session.
func verifyServer(ctx context.Context, u *ui, address string, f *evidenceFlags, asJSON bool) error {
	if f.at != "" {
		return usagef("--at is for evidence in files: a server is judged now")
	}
	hostport, err := serverAddress(address)
	if err != nil {
		return err
	}
	x, err := f.examine(u, address, "https://"+hostport)
	if err != nil {
		return err
	}
	config := ratls.Config{Trust: x.trust, ServerName: f.server}
	if f.leafOnly {
		config.Proof = ratls.ProofLeaf
	}
	client, err := ratls.NewClient(config)
	if err != nil {
		return err
	}
	conn, err := client.Dial(ctx, "tcp", hostport)
	var refused *ratls.RefusedError
	if err != nil && !errors.As(err, &refused) {
		return err // nobody answered who could be reported on
	}
	x.shown = true
	if refused != nil {
		x.refused(ctx, refused)
		return x.end(refused.Err, asJSON)
	}
	peer := conn.Peer()
	conn.Close()
	x.accepted(peer)
	if f.manifest != "" {
		err = x.config(peer, func() ([]byte, error) { return fetchManifest(ctx, client, hostport) })
	}
	return x.end(err, asJSON)
}

// serverAddress is HOST:PORT of https://HOST[:PORT].
func serverAddress(address string) (string, error) {
	target, err := url.Parse(address)
	if err != nil || target.Scheme != "https" || target.Hostname() == "" || target.User != nil || strings.Trim(target.Path, "/") != "" || target.RawQuery != "" || target.Fragment != "" {
		return "", usagef("%s is not https://HOST[:PORT]", address)
	}
	port := target.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(target.Hostname(), port), nil
}

// verifyFile verifies evidence at rest.
func verifyFile(ctx context.Context, u *ui, path string, kind evidenceKind, f *evidenceFlags, asJSON bool) error {
	if f.leafOnly || f.server != "" {
		return usagef("--leaf-only and --server-name are for servers")
	}
	if f.manifest == fetchIt {
		return usagef("--config-manifest %s is for servers: name the file", fetchIt)
	}
	b, err := readLimited(path, maxEvidence)
	if err != nil {
		return err
	}
	x, err := f.examine(u, path, "")
	if err != nil {
		return err
	}
	if kind == ofQuote {
		if f.manifest != "" {
			return usagef("--config-manifest is for certificates: a quote alone has no configuration's root beside it")
		}
		return x.end(x.quote(ctx, b), asJSON)
	}
	chain, err := parseCertificates(path, b)
	if err != nil {
		return err
	}
	return x.end(x.certificate(ctx, chain), asJSON)
}

// maxEvidence bounds a file with a quote or a certificate.
const maxEvidence = 1 << 20

// quote verifies and appraises a quote alone, or in a report of Open Enclave.
func (x *examination) quote(ctx context.Context, b []byte) error {
	if attest.IsOEReport(b) {
		kind, quote, err := attest.ParseOEReport(b)
		if err == nil && kind != attest.OERemote {
			err = &attest.Error{Step: attest.StepQuote, What: "a local report of Open Enclave, which only an enclave on the same machine can verify"}
		}
		if err != nil {
			x.result(nil, err)
			return err
		}
		b = quote
	}
	err := x.appraise(ctx, b)
	x.report.Add("binding", "what the report data stands for", evidence.NotChecked, "a quote alone does not say")
	return err
}

// appraise verifies a quote, and judges what it says by the policy.
func (x *examination) appraise(ctx context.Context, b []byte) error {
	q, err := attest.ParseQuote(b)
	if err != nil {
		x.result(nil, err)
		return err
	}
	c, missing := x.trust.Collateral(ctx, q)
	result, err := x.trust.Verifier.Verify(b, c) // without collateral, too, it finds out what can be
	var e *attest.Error
	if errors.As(err, &e) && e.Step == attest.StepCollateral && missing != nil {
		e.Err = missing
	}
	if err == nil {
		err = x.trust.Policy.Appraise(result)
	}
	x.result(result, err)
	return err
}

// What is checked of a peer besides its quote.
const (
	keyHeld     = "the evidence is about the key in the certificate"
	sessionHeld = "the enclave itself is at the end of this very connection"
	issuerHeld  = "the certificate is issued by the CA that was named, for this name"
)

// accepted notes what a peer has proven.
func (x *examination) accepted(p *ratls.Peer) {
	x.report.SetCertificate(p.Chain(), x.shown)
	x.result(p.Result(), nil)
	x.report.Add("key", keyHeld, evidence.Held, "")
	if p.Proof() == ratls.ProofSession {
		x.report.Add("session", sessionHeld, evidence.Held, "")
	} else {
		x.report.Add("session", sessionHeld, evidence.NotChecked, "evidence in a certificate says who made its key, not who has it now")
	}
	x.issuer()
}

// refused notes what was found out about a peer that was not accepted. If its evidence
// was not looked at for another reason, it is now: for the facts.
func (x *examination) refused(ctx context.Context, r *ratls.RefusedError) {
	x.report.SetCertificate(r.Chain, x.shown)
	if r.Result == nil && len(r.Chain) > 0 {
		quote := quoteIn(r.Chain[0])
		if q, err := attest.ParseQuote(quote); err == nil {
			c, _ := x.trust.Collateral(ctx, q)
			r.Result, _ = x.trust.Verifier.Verify(quote, c)
		}
	}
	x.result(r.Result, r.Err)
	var step attest.Step
	var e *attest.Error
	if errors.As(r.Err, &e) {
		step = e.Step
	}
	for _, c := range []struct {
		step       attest.Step
		name, what string
	}{
		{ratls.StepTLS, "tls", "the connection is TLS 1.3 with a certificate"},
		{ratls.StepDates, "dates", "the certificate and its evidence are of now"},
		{ratls.StepEvidence, "evidence", "the certificate has evidence that can be read"},
		{ratls.StepChain, "issuer", issuerHeld},
		{ratls.StepBinding, "key", keyHeld + ", or this very connection"},
		{ratls.StepSession, "session", sessionHeld},
	} {
		if c.step == step {
			x.report.Add(c.name, c.what, evidence.Failed, e.What)
		}
	}
	if x.shown && step != ratls.StepSession {
		x.report.Add("session", sessionHeld, evidence.NotChecked, "")
	}
	if x.f.manifest != "" {
		x.report.Add(string(stepManifest), configHeld, evidence.NotChecked, "")
	}
}

// result notes what the verifier found, and how the policy judged.
func (x *examination) result(r *attest.Result, err error) {
	x.report.SetResult(r)
	what := "what runs, and where, is what the policy accepts"
	var e *attest.Error
	switch {
	case err == nil:
		x.report.Add("policy", what, evidence.Held, "")
	case errors.As(err, &e) && strings.HasPrefix(string(e.Step), "policy"):
		x.report.Add("policy", what, evidence.Failed, "")
	default:
		x.report.Add("policy", what, evidence.NotChecked, "evidence that is not valid has nothing to judge")
	}
}

// issuer notes that the certificate's issuer was looked at, if it was.
func (x *examination) issuer() {
	if x.f.trust.cas == "" {
		x.report.Add("issuer", issuerHeld, evidence.NotChecked, "no --ca; the evidence does not depend on it")
		return
	}
	x.report.Add("issuer", issuerHeld, evidence.Held, "")
}

// configHeld is what --config-manifest asks for.
const configHeld = "the configuration's root is that of the manifest"

// config recomputes the configuration's root and compares it with the certificate's.
func (x *examination) config(p *ratls.Peer, fetch func() ([]byte, error)) error {
	m, err := x.manifest(fetch)
	if err != nil {
		err = &attest.Error{Step: stepManifest, What: "no manifest that says what is configured", Err: err}
	} else if root, ok := p.Claim(ratls.OIDConfigRoot); !ok {
		err = &attest.Error{Step: stepManifest, What: "the certificate has no configuration root", Want: ratls.OIDConfigRoot.String(), Got: "none"}
	} else if string(root) != string(m.Root[:]) {
		err = &attest.Error{Step: stepManifest, What: "the manifest is not of this configuration", Want: fmt.Sprintf("%x", root), Got: m.Root.String()}
	}
	if err != nil {
		x.report.Add(string(stepManifest), configHeld, evidence.Failed, "")
		return err
	}
	x.report.SetConfig(m)
	x.report.Add(string(stepManifest), configHeld, evidence.Held, fmt.Sprintf("%d leaves", len(m.Leaves)))
	return nil
}

// fetchIt is the word that asks for the server's own manifest.
const fetchIt = "fetch"

func (x *examination) manifest(fetch func() ([]byte, error)) (*measure.Manifest, error) {
	var b []byte
	var err error
	if x.f.manifest == fetchIt && fetch != nil {
		b, err = fetch()
	} else {
		b, err = readLimited(x.f.manifest, measure.MaxManifest)
	}
	if err != nil {
		return nil, err
	}
	return measure.ParseManifest(b)
}

// manifestPath is where the runtime gives the manifest of its configuration.
const manifestPath = "/.well-known/eos/config"

func fetchManifest(ctx context.Context, client *ratls.Client, hostport string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+hostport+manifestPath, nil)
	if err != nil {
		return nil, err
	}
	t := client.Transport()
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server has no configuration manifest: %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, measure.MaxManifest+1))
}

// end prints the report. The exit status is 0 only if nothing was wrong.
func (x *examination) end(err error, asJSON bool) error {
	r := x.report
	what := "nothing ends within " + x.f.expires
	switch {
	case x.within == 0:
	case err != nil:
		r.Add(string(stepExpiry), what, evidence.NotChecked, "")
	default:
		if r.Expires != nil && r.Expires.Before(r.Time.Add(x.within)) {
			err = &attest.Error{Step: stepExpiry, What: "something ends soon", Want: "nothing before " + r.Time.Add(x.within).Format(time.RFC3339), Got: r.Expires.Format(time.RFC3339),
				Hint: "renew the certificate, or the vendor's statements about the platform"}
			r.Add(string(stepExpiry), what, evidence.Failed, "")
		} else {
			r.Add(string(stepExpiry), what, evidence.Held, "")
		}
	}
	r.Conclude(err)
	if x.f.html != "" {
		if err := writeFile(x.f.html, 0o644, r.WriteHTML); err != nil {
			return err
		}
	}
	if err := x.print(asJSON); err != nil || r.Trusted {
		return err
	}
	refusal := fmt.Errorf("%s is refused: %s", r.Subject, r.Failure())
	if r.Hint != "" {
		return withHint(refusal, "%s", r.Hint)
	}
	return refusal
}

func (x *examination) print(asJSON bool) error {
	r := x.report
	if asJSON {
		return x.u.json(r)
	}
	verdict := "trusted"
	if !r.Trusted {
		verdict = "REFUSED"
	}
	x.u.printf("%s: %s\n", oneLine(r.Subject), verdict)
	t := x.u.table()
	for _, s := range r.Sections() {
		fmt.Fprintf(t, "\n%s\n", s.Title)
		for _, row := range s.Rows {
			name := row.Name
			if row.State == evidence.Failed {
				name += " FAILED"
			}
			fmt.Fprintf(t, "  %s\t%s\n", name, oneLine(row.Value))
		}
	}
	return t.Flush()
}
