// Package collateral gets what a verifier needs beside a quote: from Intel's
// Provisioning Certification Service (PCS) or a caching service (PCCS), API
// version 4; from a directory in which it keeps what it got; or from a bundle
// file, where there is no network.
//
// Nothing here is trusted: package attest verifies collateral together with the
// quote. What is checked here is whether a service's answer is whole, is what was
// asked for and is fresh, so that the next service can be asked if it is not.
package collateral

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
)

// Intel is Intel's own service.
var Intel = Endpoint{
	URL:     "https://api.trustedservices.intel.com",
	RootCRL: "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
}

// Endpoint is a service.
type Endpoint struct {
	// URL is what is before "/sgx/certification/v4/".
	URL string
	// RootCRL is the address of the root's CRL. Empty is that of a PCCS, which has
	// it at "/sgx/certification/v4/rootcacrl".
	RootCRL string
}

// Check says what is wrong with the addresses.
func (e *Endpoint) Check() error {
	_, err := checkURL(e.URL)
	if err == nil && e.RootCRL != "" {
		_, err = checkURL(e.RootCRL)
	}
	return err
}

// DefaultRefresh is the Refresh of a Client without one.
const DefaultRefresh = 24 * time.Hour

// Client gets collateral. Its methods may be called from any goroutine; its fields
// must not change after the first use.
type Client struct {
	// Endpoints are asked in this order: the next one if one does not answer, or
	// answers with what is stale or damaged. None: only the cache is used.
	Endpoints []Endpoint
	// HTTP makes the requests; nil is a client of the default transport that follows
	// no redirection from https to http. Each attempt has ten seconds.
	HTTP *http.Client
	// Cache keeps collateral over the end of the process; nil does not.
	Cache *Cache
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// MaxAge is how old documents may be, as in attest.Verifier; zero is
	// attest.DefaultMaxCollateralAge. Older ones are stale.
	MaxAge time.Duration
	// Refresh is the age from which on new documents are asked for, while the old
	// ones still serve if there are no newer; zero is DefaultRefresh.
	Refresh time.Duration
	// Used, if set, is told where collateral came from: an endpoint's URL or a
	// cache's file. Warn, if set, is told what did not keep Get from an answer:
	// an endpoint that was passed over, a cache that cannot be written.
	Used func(r Request, from string)
	Warn func(error)

	wait func(context.Context, time.Duration) error // between attempts; nil: time passes

	mu     sync.Mutex
	memory map[Request]*entry
}

// entry is collateral in memory. Who has put something into busy may use it, also
// while asking for it, so that many who want the same make one request.
type entry struct {
	busy       chan struct{} // of capacity 1
	collateral *attest.Collateral
	asked      time.Time // when services were last asked
}

// Request says which collateral.
type Request struct {
	TEE   attest.TEE
	FMSPC [6]byte
	CA    CA
	// Root is the SHA-256 of the public key (SPKI) that all of it must lead to; zero
	// is any. Vendors may use the same FMSPC, and what leads to another key is of no
	// use: it is not kept.
	Root [32]byte
}

// CA is the CA of a PCK certificate.
type CA string

// The CAs, as the services call them.
const (
	Platform  CA = "platform"
	Processor CA = "processor"
)

// String is for example "sgx-00906ED50000-processor-a0af031289f5d5d4", with the
// beginning of the root at the end.
func (r Request) String() string {
	s := fmt.Sprintf("%s-%X-%s", strings.ToLower(r.TEE.String()), r.FMSPC[:], string(r.CA))
	if r.Root != [32]byte{} {
		s += fmt.Sprintf("-%x", r.Root[:8])
	}
	return s
}

// RequestFor reads from the PCK certificate in a quote which collateral is for it.
// It verifies nothing.
func RequestFor(q *attest.Quote) (Request, error) {
	if q.CertType != attest.CertPCKChain {
		return Request{}, fmt.Errorf("collateral: the quote has no PCK certificate chain (its certification data is of type %d)", q.CertType)
	}
	var leaf *x509.Certificate
	var extension []byte
	var root [32]byte
	for b, block := q.CertData, (*pem.Block)(nil); ; {
		if block, b = pem.Decode(b); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Request{}, fmt.Errorf("collateral: certificate in the quote: %w", err)
		}
		if bytes.Equal(cert.RawIssuer, cert.RawSubject) {
			root = sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		}
		for _, x := range cert.Extensions {
			if x.Id.Equal(attest.OIDSGXExtension) {
				leaf, extension = cert, x.Value
			}
		}
	}
	if leaf == nil {
		return Request{}, errors.New("collateral: no PCK certificate in the quote")
	}
	r, err := requestOf(q.TEE, leaf, extension)
	r.Root = root
	return r, err
}

func requestOf(tee attest.TEE, cert *x509.Certificate, extension []byte) (Request, error) {
	pck, err := attest.ParsePCKExtensions(extension)
	if err != nil {
		return Request{}, fmt.Errorf("collateral: PCK certificate in the quote: %w", err)
	}
	r := Request{TEE: tee, FMSPC: pck.FMSPC}
	switch name := cert.Issuer.CommonName; {
	case strings.HasSuffix(name, "PCK Platform CA"):
		r.CA = Platform
	case strings.HasSuffix(name, "PCK Processor CA"):
		r.CA = Processor
	default:
		return Request{}, fmt.Errorf("collateral: the issuer of the PCK certificate is %q, want a PCK Platform CA or PCK Processor CA", name)
	}
	return r, nil
}

// For returns the collateral for a quote.
func (c *Client) For(ctx context.Context, q *attest.Quote) (*attest.Collateral, error) {
	r, err := RequestFor(q)
	if err != nil {
		return nil, err
	}
	return c.Get(ctx, r)
}

// maxMemory bounds the collateral in memory: a stranger's quote names its FMSPC.
const maxMemory = 64

// retryAfter is how long services are left alone that had nothing new.
const retryAfter = time.Minute

// Get returns collateral: from memory, from the cache, or from the first endpoint
// that has it fresh and whole. The caller must not change it.
func (c *Client) Get(ctx context.Context, r Request) (*attest.Collateral, error) {
	e := c.entry(r)
	select {
	case e.busy <- struct{}{}:
		defer func() { <-e.busy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	now := c.now()
	if e.collateral != nil && c.stale(e.collateral, r, now) != nil {
		e.collateral = nil
	}
	if e.collateral == nil && c.Cache != nil {
		// A file that cannot be read is as good as none: it is overwritten.
		if kept, err := c.Cache.Get(r); err == nil && c.stale(kept, r, now) == nil {
			e.collateral = kept
			c.used(r, c.Cache.path(r))
		}
	}
	if e.collateral != nil {
		recent := !now.Before(e.asked) && now.Sub(e.asked) < retryAfter
		if recent || !c.due(e.collateral, now) || len(c.Endpoints) == 0 {
			return e.collateral, nil
		}
	}
	e.asked = now
	fresh, from, err := c.fetch(ctx, r)
	if err != nil {
		if e.collateral != nil {
			c.warn(err)
			return e.collateral, nil // still good, and there is none newer
		}
		return nil, err
	}
	e.collateral = fresh
	c.used(r, from)
	if c.Cache != nil {
		if err := c.Cache.Put(r, fresh); err != nil {
			c.warn(err)
		}
	}
	return fresh, nil
}

func (c *Client) used(r Request, from string) {
	if c.Used != nil {
		c.Used(r, from)
	}
}

func (c *Client) warn(err error) {
	if c.Warn != nil {
		c.Warn(err)
	}
}

func (c *Client) entry(r Request) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.memory[r]; ok {
		return e
	}
	if c.memory == nil || len(c.memory) >= maxMemory {
		c.memory = make(map[Request]*entry)
	}
	e := &entry{busy: make(chan struct{}, 1)}
	c.memory[r] = e
	return e
}

func (c *Client) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// fetch asks the endpoints in their order. The error names each of them.
func (c *Client) fetch(ctx context.Context, r Request) (*attest.Collateral, string, error) {
	if len(c.Endpoints) == 0 {
		return nil, "", fmt.Errorf("collateral for %s: there is none, and no service to ask", r)
	}
	var reasons []error
	for _, e := range c.Endpoints {
		got, err := c.fetchFrom(ctx, e, r)
		if err == nil {
			err = c.stale(got, r, c.now())
		}
		if err == nil {
			for _, r := range reasons {
				c.warn(r)
			}
			return got, e.URL, nil
		}
		reasons = append(reasons, fmt.Errorf("%s: %w", e.URL, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, "", &FetchError{Request: r, Reasons: reasons}
}

// FetchError says why no endpoint has given collateral.
type FetchError struct {
	Request Request
	Reasons []error // one for each endpoint that was asked
}

func (e *FetchError) Error() string {
	s := make([]string, len(e.Reasons))
	for i, r := range e.Reasons {
		s[i] = r.Error()
	}
	return fmt.Sprintf("collateral for %s: %s", e.Request, strings.Join(s, "; "))
}

// Unwrap returns the reasons.
func (e *FetchError) Unwrap() []error { return e.Reasons }

// fmspc is how the services want it.
func (r Request) fmspc() string { return strings.ToUpper(hex.EncodeToString(r.FMSPC[:])) }
