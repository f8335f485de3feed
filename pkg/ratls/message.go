package ratls

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/ijson"
)

// Paths of the session step. Both speak the same; the first is that of Enclave OS
// RA-TLS version 2.
const (
	SessionPath        = "/__privasys/attest"
	NeutralSessionPath = "/.well-known/eos/attest"
)

// Labels of the TLS exporter: one for each direction, so that no side can give the other
// side's answer as its own.
const (
	serverLabel = "EXPORTER-privasys-ratls-attest-v2"
	clientLabel = "EXPORTER-privasys-ratls-attest-v2-client"
)

const (
	messageVersion = 2
	maxMessageSize = 64 << 10
)

// Modes of a message.
const (
	modeDeterministic = "deterministic" // a quote that may be shared, as in a leaf
	modeChallenge     = "challenge"     // a quote for this session
	modePresent       = "present"       // the client's own quote for this session
)

// request is what the client sends: a question, or, in mode "present", its own evidence.
type request struct {
	V           int     `json:"v"`
	Mode        string  `json:"mode"`
	Leaf        string  `json:"leaf,omitempty"`    // base64url of SHA-256(SPKI) of the leaf it sees
	Context     string  `json:"context,omitempty"` // 32 bytes in base64url
	TEE         string  `json:"tee,omitempty"`
	Quote       string  `json:"quote,omitempty"`
	GPUEvidence *string `json:"gpu_evidence,omitempty"`
	QuoteTime   string  `json:"quote_time,omitempty"`
}

// response is what the server answers to a question.
type response struct {
	V              int     `json:"v"`
	Mode           string  `json:"mode"`
	TEE            string  `json:"tee"`
	Quote          string  `json:"quote"`
	GPUEvidence    *string `json:"gpu_evidence"`
	QuoteTime      string  `json:"quote_time"`
	ClientEvidence string  `json:"client_evidence"` // "none" or "required"
	ClientContext  *string `json:"client_context"`
}

const (
	clientEvidenceNone     = "none"
	clientEvidenceRequired = "required"
	teeSGX                 = "sgx"
)

// refusal is the answer to what cannot be answered.
type refusal struct {
	V     int    `json:"v"`
	Error string `json:"error"`
}

// readMessage reads one JSON object, and nothing behind it.
func readMessage(r io.Reader, to any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxMessageSize+1))
	switch {
	case err != nil:
		return err
	case len(b) > maxMessageSize:
		return fmt.Errorf("a message of more than %d bytes", maxMessageSize)
	}
	return parseMessage(b, to)
}

// parseMessage leaves out members of later versions.
func parseMessage(b []byte, to any) error {
	if err := ijson.UnmarshalKnown(b, to); err != nil {
		return fmt.Errorf("not the JSON that belongs here: %w", err)
	}
	return nil
}

// The messages have base64url without padding.
var encoding = base64.RawURLEncoding.Strict()

func decode32(s string) (v [32]byte, ok bool) {
	b, err := encoding.DecodeString(s)
	if err != nil || len(b) != len(v) {
		return v, false
	}
	return [32]byte(b), true
}

// exported is what the exporter of a connection makes of a context.
func exported(s *tls.ConnectionState, label string, context [32]byte) (v [32]byte, err error) {
	if s.Version != tls.VersionTLS13 || !s.HandshakeComplete {
		return v, errors.New("ratls: not a finished TLS 1.3 connection")
	}
	b, err := s.ExportKeyingMaterial(label, context[:], len(v))
	if err != nil {
		return v, fmt.Errorf("ratls: exporter: %w", err)
	}
	return [32]byte(b), nil
}
