// Package start is what a host tells the runtime when it starts it: one JSON
// document, the program's one argument. Both sides of the wall share it.
//
// None of it can be trusted. What of it matters to clients (the CA, who the
// operator is, how evidence is given) becomes a leaf of the attested
// configuration; the rest can at worst keep the enclave from serving.
package start

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Format is the value of Config.Format that this version knows.
const Format = 1

// MaxSize bounds the bytes of a document: it is a program's argument.
const MaxSize = 60 << 10

// The values of Config.Evidence: where a client finds the quote.
const (
	EvidenceLeaf      = "leaf"        // in the certificate, and by the session step as well
	EvidenceSession   = "session"     // by the session step only: certificates have none
	EvidenceBothBySNI = "both-by-sni" // by the session step for names session.HOST, in the certificate for HOST
)

// LeafPerConnection is the value of Config.Leaf for a key, a quote and a
// certificate for each connection.
const LeafPerConnection = "per-connection"

// The shortest and the longest life of a shared leaf.
const (
	MinLeaf = time.Minute
	MaxLeaf = 24 * time.Hour
)

// Config is the document.
type Config struct {
	Format    int      `json:"format"`
	Listen    string   `json:"listen"`               // "IP:PORT"
	Leaf      string   `json:"leaf"`                 // LeafPerConnection, or how long one is shared, as time.Duration says it
	Evidence  string   `json:"evidence"`             // EvidenceLeaf, …
	QuoteRate uint32   `json:"quote_rate,omitempty"` // quotes a second that connections may cause, and how many at once; 0: the default
	Hosts     []string `json:"hosts,omitempty"`      // names and addresses in the certificate, beside those of this machine
	CA        *CA      `json:"ca,omitempty"`         // handed over at the first start; nil: the enclave makes its own
	Operator  string   `json:"operator,omitempty"`   // SHA-256 of the operator's token, hex; taken at the first start
	EgressCAs []byte   `json:"egress_cas,omitempty"` // whom apps trust outside, see ParseAuthorities; taken at the first start; nil: those of the runtime
}

// CA is an intermediary CA, as PEM.
type CA struct {
	Chain string `json:"chain"` // certificates, the intermediary's first
	Key   string `json:"key"`
}

// Append appends the document.
func (c *Config) Append(b []byte) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	text, err := c.encode()
	if err != nil {
		return nil, err
	}
	if len(text) > MaxSize {
		return nil, fmt.Errorf("start configuration: %d bytes, at most %d: the CA's chain or the CAs of --egress-ca are too long", len(text), MaxSize)
	}
	return append(b, text...), nil
}

func (c *Config) encode() ([]byte, error) {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	err := e.Encode(c)
	return bytes.TrimSuffix(w.Bytes(), []byte("\n")), err
}

// Parse takes what Append makes, byte for byte.
func Parse(b []byte) (*Config, error) {
	c, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("start configuration: %w", err)
	}
	return c, nil
}

func parse(b []byte) (*Config, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%d bytes, at most %d", len(b), MaxSize)
	}
	c := new(Config)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if again, err := c.encode(); err != nil || !bytes.Equal(again, b) {
		return nil, errors.New("not as a host of this version writes it")
	}
	return c, nil
}

func (c *Config) check() error {
	if c.Format != Format {
		return fmt.Errorf("format %d: this version of the runtime knows %d", c.Format, Format)
	}
	if err := checkListen(c.Listen); err != nil {
		return err
	}
	if _, err := ParseLeaf(c.Leaf); err != nil {
		return err
	}
	if err := CheckEvidence(c.Evidence); err != nil {
		return err
	}
	if c.QuoteRate > MaxQuoteRate {
		return fmt.Errorf("a quote rate of %d, at most %d", c.QuoteRate, MaxQuoteRate)
	}
	if len(c.Hosts) > MaxHosts {
		return fmt.Errorf("%d hosts, at most %d", len(c.Hosts), MaxHosts)
	}
	for _, h := range c.Hosts {
		if err := CheckHost(h); err != nil {
			return err
		}
	}
	if _, err := ParseOperator(c.Operator); err != nil {
		return err
	}
	if _, err := ParseAuthorities(c.EgressCAs); err != nil {
		return err
	}
	if c.CA != nil && (c.CA.Key == "" || c.CA.Chain == "") {
		return errors.New("a CA without certificate or key")
	}
	return nil
}

func checkListen(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && host != "" && net.ParseIP(host) == nil {
		err = fmt.Errorf("%q is not an IP address", host)
	}
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not [IP]:PORT: %w", addr, err)
	}
	return nil
}

// Bounds of Config.Hosts and Config.QuoteRate.
const (
	MaxHosts     = 32
	MaxQuoteRate = 1_000_000
)

// CheckHost checks an element of Config.Hosts: a DNS name in lower case, or an IP
// address.
func CheckHost(h string) error {
	if ip := net.ParseIP(h); ip != nil && ip.String() == h {
		return nil
	}
	if len(h) > 240 {
		return fmt.Errorf("%.80q is too long for a host name", h)
	}
	for label := range strings.SplitSeq(h, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fmt.Errorf("%.80q is neither a host name in lower case nor an IP address", h)
		}
	}
	return nil
}

// ParseLeaf returns how long a leaf is shared: 0 for LeafPerConnection, else from
// MinLeaf to MaxLeaf.
func ParseLeaf(s string) (time.Duration, error) {
	if s == LeafPerConnection {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < MinLeaf || d > MaxLeaf {
		return 0, fmt.Errorf("%q is neither %s nor a time from 1m to 24h", s, LeafPerConnection)
	}
	return d, nil
}

// CheckEvidence checks a value of Config.Evidence.
func CheckEvidence(s string) error {
	all := []string{EvidenceLeaf, EvidenceSession, EvidenceBothBySNI}
	if !slices.Contains(all, s) {
		return fmt.Errorf("%q is none of %s", s, strings.Join(all, ", "))
	}
	return nil
}

// ParseOperator returns the bytes of a value of Config.Operator; nil for none.
func ParseOperator(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	h, err := hex.DecodeString(s)
	if err != nil || len(h) != 32 || hex.EncodeToString(h) != s {
		return nil, errors.New("the hash of an operator's token is 64 lower-case hex digits")
	}
	return h, nil
}
