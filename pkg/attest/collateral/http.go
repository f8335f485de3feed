package collateral

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
)

const (
	// attempts is how often a request is made that fails for a while.
	attempts = 3
	// attemptTime bounds one of them.
	attemptTime = 10 * time.Second
	// firstWait is the time before the second attempt, each further one has twice
	// that; maxWait bounds it, and what a service asks for by Retry-After.
	firstWait = 300 * time.Millisecond
	maxWait   = 5 * time.Second
	// maxBody bounds an answer in bytes. Intel's longest is a CRL of some 100 KiB.
	maxBody = 1 << 20
	// maxChain bounds an issuer chain in bytes.
	maxChain = 32 << 10
)

// The headers that issuer chains come in.
const (
	headerTCBInfo    = "TCB-Info-Issuer-Chain"
	headerQEIdentity = "SGX-Enclave-Identity-Issuer-Chain" // of TDX as well
	headerPCKCRL     = "SGX-PCK-CRL-Issuer-Chain"
)

// StatusError is an answer other than 200.
type StatusError struct {
	Path   string
	Status int
}

func (e *StatusError) Error() string {
	hint := ""
	if e.Status == http.StatusNotFound {
		hint = ": the service does not know this platform"
	}
	return fmt.Sprintf("%s: status %d %s%s", e.Path, e.Status, http.StatusText(e.Status), hint)
}

// fetchFrom gets all parts from one endpoint: parts of several services may not go
// together.
func (c *Client) fetchFrom(ctx context.Context, e Endpoint, r Request) (*attest.Collateral, error) {
	base, err := checkURL(e.URL)
	if err != nil {
		return nil, err
	}
	const sgx = "/sgx/certification/v4/"
	tee := sgx
	if r.TEE == attest.TDX {
		tee = "/tdx/certification/v4/"
	}
	got := new(attest.Collateral)
	for _, d := range []struct {
		path, member, header string
		doc                  *attest.SignedJSON
		chain                *[]byte
	}{
		{tee + "tcb?fmspc=" + r.fmspc(), attest.NameTCBInfo, headerTCBInfo, &got.TCBInfo, &got.TCBInfoChain},
		{tee + "qe/identity", attest.NameQEIdentity, headerQEIdentity, &got.QEIdentity, &got.QEIdentityChain},
	} {
		body, header, err := c.get(ctx, base+d.path)
		if err != nil {
			return nil, err
		}
		if *d.chain, err = issuerChain(header, d.header); err != nil {
			return nil, fmt.Errorf("%s: %w", d.path, err)
		}
		if *d.doc, err = attest.ParseSignedJSON(d.member, body); err != nil {
			return nil, fmt.Errorf("%s: %w", d.path, err)
		}
	}
	path := sgx + "pckcrl?ca=" + string(r.CA) + "&encoding=der"
	body, header, err := c.get(ctx, base+path)
	if err != nil {
		return nil, err
	}
	if got.PCKCRLChain, err = issuerChain(header, headerPCKCRL); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if got.PCKCRL, err = crlDER(body); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	root := base + sgx + "rootcacrl"
	if e.RootCRL != "" {
		if root, err = checkURL(e.RootCRL); err != nil {
			return nil, err
		}
	}
	if body, _, err = c.get(ctx, root); err != nil {
		return nil, err
	}
	if got.RootCRL, err = crlDER(body); err != nil {
		return nil, fmt.Errorf("CRL of the root: %w", err)
	}
	return got, nil
}

// checkURL refuses what is not an address of a service.
func checkURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", err
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is not the address of a service: want https://HOST", s)
	}
	return strings.TrimSuffix(s, "/"), nil
}

// issuerChain decodes a header with a chain: PEM, URL-encoded.
func issuerChain(h http.Header, name string) ([]byte, error) {
	v := h.Values(name)
	if len(v) != 1 {
		return nil, fmt.Errorf("header %s comes %d times, want once", name, len(v))
	}
	// Intel encodes a blank as %20, so that + is a plus of base64.
	chain, err := url.PathUnescape(v[0])
	if err != nil {
		return nil, fmt.Errorf("header %s: %w", name, err)
	}
	if len(chain) > maxChain || !strings.Contains(chain, "-----BEGIN CERTIFICATE-----") {
		return nil, fmt.Errorf("header %s has no certificate chain", name)
	}
	return []byte(chain), nil
}

// crlDER reads a CRL in any of the forms that services use: DER, DER in hex (PCCS)
// and PEM.
func crlDER(b []byte) ([]byte, error) {
	const sequence = 0x30 // also the digit 0, with which no DER in hex begins
	text := bytes.TrimSpace(b)
	switch {
	case len(b) > 0 && b[0] == sequence && !isHex(text):
		return b, nil
	case bytes.HasPrefix(text, []byte("-----BEGIN X509 CRL-----")):
		block, rest := pem.Decode(text)
		if block == nil || len(bytes.TrimSpace(rest)) != 0 {
			return nil, errors.New("a PEM block cannot be read")
		}
		return block.Bytes, nil
	case isHex(text):
		return hex.DecodeString(string(text))
	}
	return nil, errors.New("the answer is no CRL")
}

func isHex(b []byte) bool {
	for _, c := range b {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return false
		}
	}
	return len(b) > 0 && len(b)%2 == 0
}

var noDowngrade = &http.Client{CheckRedirect: func(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= 5:
		return errors.New("more than five redirections")
	case req.URL.Scheme != "https" && via[0].URL.Scheme == "https":
		return errors.New("redirected from https to " + req.URL.Scheme)
	}
	return nil
}}

// get makes a request, and makes it again after what may pass: no connection, no
// whole answer, 429 and 5xx.
func (c *Client) get(ctx context.Context, address string) ([]byte, http.Header, error) {
	wait := firstWait
	for n := 1; ; n++ {
		body, header, retry, err := c.attempt(ctx, address)
		if err == nil || retry < 0 || n == attempts || ctx.Err() != nil {
			return body, header, err
		}
		if err := c.pause(ctx, min(max(wait, retry), maxWait)); err != nil {
			return nil, nil, err
		}
		wait *= 2
	}
}

func (c *Client) pause(ctx context.Context, d time.Duration) error {
	if c.wait != nil {
		return c.wait(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt makes a request once. After an error retry is the time that the service
// wants to be left alone, negative if there is no sense in asking again.
func (c *Client) attempt(ctx context.Context, address string) (body []byte, header http.Header, retry time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, -1, err
	}
	client := c.HTTP
	if client == nil {
		client = noDowngrade
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		retry = -1
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
			retry = 0
			if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
				retry = time.Duration(min(s, 3600)) * time.Second
			}
		}
		return nil, nil, retry, &StatusError{req.URL.Path, resp.StatusCode}
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, nil, 0, fmt.Errorf("%s: %w", req.URL.Path, err)
	}
	if len(body) > maxBody {
		return nil, nil, -1, fmt.Errorf("%s: the answer has more than %d bytes", req.URL.Path, maxBody)
	}
	return body, resp.Header, 0, nil
}
