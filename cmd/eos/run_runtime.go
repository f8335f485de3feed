package main

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/enclaveos/eos/pkg/wall/start"
	"github.com/spf13/cobra"
)

// runtimeFlags are for runtime images only.
type runtimeFlags struct {
	listen, leaf, evidence string
	hosts                  []string
	caCert, caKey          string
	state, operator        string
	egressCA               string
	quoteRate              uint32
}

var runtimeOnly = []string{"listen", "host", "leaf", "evidence", "quote-rate", "ca-cert", "ca-key", "egress-ca", "state", "operator-token"}

// noState is the value of --state for a runtime that keeps nothing.
const noState = "none"

func (f *runtimeFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8443", "runtime: `[IP]:PORT` to serve attested TLS at")
	fl.StringArrayVar(&f.hosts, "host", nil, "runtime: a `NAME` or address of its certificate, beside those of this machine; repeat it for more")
	fl.StringVar(&f.state, "state", "", "runtime: `DIR` of its sealed state, or none to keep nothing (default: APP.state beside the image)")
	fl.StringVar(&f.leaf, "leaf", "1h", "runtime: `WHEN` there is a new certificate: per-connection, or after a time from 1m to 24h")
	fl.StringVar(&f.evidence, "evidence", start.EvidenceLeaf, "runtime: `WHERE` the quote is: leaf, session or both-by-sni")
	fl.Uint32Var(&f.quoteRate, "quote-rate", ratls.DefaultQuotesPerSecond, "runtime: `NUMBER` of quotes a second that connections may cause")
	fl.StringVar(&f.caCert, "ca-cert", "", "runtime: `FILE` with the certificate of the intermediary CA to hand over at the first start (default: it makes its own)")
	fl.StringVar(&f.caKey, "ca-key", "", "runtime: `FILE` with the key of the intermediary CA")
	fl.StringVar(&f.egressCA, "egress-ca", "", "runtime: `FILE` with the CAs that apps trust when they fetch, in place of Mozilla's, to hand over at the first start")
	fl.StringVar(&f.operator, "operator-token", "", "runtime: `FILE` of the operator's token, made if it is missing, or sha256:HEX of one (default: operator-token in the state directory)")
	completeFlagWords(cmd, "leaf", start.LeafPerConnection, "1h")
	completeFlagWords(cmd, "evidence", start.EvidenceLeaf, start.EvidenceSession, start.EvidenceBothBySNI)
	completeFlagFiles(cmd, "ca-cert", "pem", "der", "crt")
	completeFlagFiles(cmd, "egress-ca", "pem", "crt")
	completeFlagFiles(cmd, "ca-key", "key", "pem", "der")
}

// isRuntimeImage reports whether the Go image at path is a runtime. What is wrong
// with an image its loader says best.
func isRuntimeImage(path string) bool {
	// Asked before it is opened: the open of a pipe waits for its writer.
	if fi, err := os.Stat(path); err != nil || !fi.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := fromgo.ReadInfo(f)
	return err == nil && info.Runtime
}

// stateDir is where the state of the runtime image at path is; "" for nowhere.
func (f *runtimeFlags) stateDir(path string) string {
	switch f.state {
	case "":
		return replaceExt(path, ".state")
	case noState:
		return ""
	}
	return f.state
}

// config is what the runtime is told, as its one argument.
func (f *runtimeFlags) config(u *ui, state string, first bool) (string, error) {
	listen, err := net.ResolveTCPAddr("tcp", f.listen)
	if err != nil {
		return "", withHint(usagef("--listen: %w", err), "write [IP]:PORT, such as 127.0.0.1:8443 or :8443")
	}
	c := &start.Config{Format: start.Format, Listen: listen.String(), Leaf: f.leaf, Evidence: f.evidence, Hosts: f.hosts}
	for _, h := range f.hosts {
		if err := start.CheckHost(h); err != nil {
			return "", usagef("--host: %w", err)
		}
	}
	if _, err := start.ParseLeaf(f.leaf); err != nil {
		return "", usagef("--leaf: %w", err)
	}
	if err := start.CheckEvidence(f.evidence); err != nil {
		return "", usagef("--evidence: %w", err)
	}
	if c.QuoteRate = f.quoteRate; c.QuoteRate == 0 || c.QuoteRate > start.MaxQuoteRate {
		return "", usagef("--quote-rate: %d is not between 1 and %d", c.QuoteRate, start.MaxQuoteRate)
	}
	if c.QuoteRate == ratls.DefaultQuotesPerSecond {
		c.QuoteRate = 0 // as images know it that are older than the flag
	}
	if c.CA, err = f.readCA(u); err != nil {
		return "", err
	}
	if c.EgressCAs, err = f.readEgressCAs(); err != nil {
		return "", err
	}
	if c.Operator, err = f.operatorHash(u, state, first); err != nil {
		return "", err
	}
	b, err := c.Append(nil)
	return string(b), err
}

func (f *runtimeFlags) readCA(u *ui) (*start.CA, error) {
	if (f.caCert == "") != (f.caKey == "") {
		return nil, usagef("--ca-cert and --ca-key go together")
	}
	if f.caCert == "" {
		return nil, nil
	}
	ca, err := loadCA(u, f.caCert, f.caKey) // so that what is wrong is said here
	if err != nil {
		return nil, err
	}
	key, err := ca.KeyPEM()
	return &start.CA{Chain: string(ca.CertificatePEM()), Key: string(key)}, err
}

// readEgressCAs reads whom apps are to trust when they fetch; nil: nobody said.
func (f *runtimeFlags) readEgressCAs() ([]byte, error) {
	if f.egressCA == "" {
		return nil, nil
	}
	text, err := readLimited(f.egressCA, 1<<20)
	if err != nil {
		return nil, err
	}
	der, err := start.AuthoritiesOfPEM(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.egressCA, err)
	}
	return der, nil
}

// tokenFile is the name of the operator's token in a state directory.
const tokenFile = "operator-token"

// operatorHash returns what the enclave is told of the operator's token, which is its
// hash: the token itself is for the operator's own machine.
func (f *runtimeFlags) operatorHash(u *ui, state string, first bool) (string, error) {
	path := f.operator
	if h, ok := strings.CutPrefix(path, "sha256:"); ok {
		if b, err := start.ParseOperator(h); b == nil {
			return "", usagef("--operator-token: %w", cmp.Or(err, errors.New("there is nothing after sha256:")))
		}
		return h, nil
	}
	if path == "" {
		if state == "" {
			return "", nil
		}
		path = filepath.Join(state, tokenFile)
	}
	token, err := readToken(path)
	switch {
	case err == nil:
		warnExposed(u, "token", path)
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	case !first && f.operator == "":
		return "", nil // it has been moved, and the enclave knows its hash
	default:
		token = newToken()
		if err := writeNew(path, []byte(token+"\n"), 0o600); err != nil {
			return "", err
		}
		u.hint("the operator's token is in %s: whoever has it rules the enclave; move it to where it is safe", path)
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:]), nil
}

// readToken reads the operator's token.
func readToken(path string) (string, error) {
	b, err := readLimited(path, 4096)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	if len(token) < 32 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", withHint(fmt.Errorf("%s is not an operator's token: 32 or more printable characters without blanks", path),
			"eos run --operator-token FILE makes one in a file that does not exist")
	}
	return token, nil
}

func newToken() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return "eos_" + base64.RawURLEncoding.EncodeToString(b)
}
