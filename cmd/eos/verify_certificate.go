package main

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/enclaveos/eos/cmd/eos/evidence"
	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/ratls"
)

// certificate verifies a certificate at rest, with those that stand behind it in its file.
func (x *examination) certificate(ctx context.Context, chain []*x509.Certificate) error {
	peer, err := ratls.VerifyCertificate(ctx, chain, x.trust)
	refused := &ratls.RefusedError{Chain: chain, Err: err}
	if err == nil {
		refused.Result, refused.Err = peer.Result(), x.vouched(chain)
	} else {
		// Only what has no evidence of ours, and is refused for nothing else, is
		// looked at as another implementation's.
		var e *attest.Error
		if errors.As(err, &e) && e.Step == ratls.StepEvidence {
			if quote, form := foreignEvidence(chain[0]); quote != nil {
				return x.foreign(ctx, chain, quote, form)
			}
		}
		errors.As(err, &refused)
	}
	if refused.Err != nil {
		x.refused(ctx, refused)
		return refused.Err
	}
	x.accepted(peer)
	if x.trust.CAs == nil && len(x.report.Claims) > 0 {
		x.report.Add("claims", "what the certificate says of the configuration", evidence.NotChecked,
			"the evidence covers its key and NotBefore; for the rest stands who signed it, and no --ca was named")
	}
	if x.f.manifest != "" {
		return x.config(peer, nil)
	}
	return nil
}

// vouched checks what there is besides evidence to rely on in a certificate at rest:
// nobody shows by a handshake that it is as its enclave made it.
func (x *examination) vouched(chain []*x509.Certificate) error {
	if x.trust.CAs != nil {
		return nil // VerifyCertificate has checked the whole chain
	}
	if len(x.trust.Policy.Extensions) > 0 {
		return &attest.Error{
			Step: attest.StepPolicyExtension, What: "extensions of a certificate in a file, which its evidence does not cover", Want: "the signature of a CA that was named", Got: "no --ca",
			Hint: "name the CA by --ca, or verify the server itself: there the handshake covers them",
		}
	}
	for _, c := range chain[1:] {
		if chain[0].CheckSignatureFrom(c) == nil {
			return nil
		}
	}
	if len(chain) == 1 {
		return nil
	}
	return &attest.Error{Step: ratls.StepChain, What: "none of the certificates behind the first one has signed it"}
}

// foreignEvidence is the quote in a certificate of another implementation that is about
// the certificate's key, and the name of its form.
func foreignEvidence(cert *x509.Certificate) (quote []byte, form string) {
	if d, err := ratls.DICEOf(cert); err == nil {
		return d.Quote, "DICE evidence"
	}
	if quote, err := attest.QuoteOfOECertificate(cert); err == nil {
		return quote, "the form of Open Enclave and EGo"
	}
	if quote, err := ratls.GramineQuoteOf(cert); err == nil {
		return quote, "Gramine's old form"
	}
	return nil, ""
}

// foreign verifies the evidence in a certificate of another implementation.
func (x *examination) foreign(ctx context.Context, chain []*x509.Certificate, quote []byte, form string) error {
	x.report.SetCertificate(chain, false)
	if x.f.manifest != "" {
		return usagef("--config-manifest is for certificates of eos: this one has no configuration's root")
	}
	err := x.appraise(ctx, quote)
	x.report.Add("key", keyHeld, evidence.Held, form)
	x.report.Add("session", sessionHeld, evidence.NotChecked, "evidence in a certificate says who made its key, not who has it now")
	x.issuer() // VerifyCertificate has looked at it before it looked for evidence
	return err
}

// quoteIn is the quote in a certificate of ours, or of another implementation.
func quoteIn(cert *x509.Certificate) []byte {
	for _, e := range cert.Extensions {
		if e.Id.Equal(ratls.OIDQuote) {
			return e.Value
		}
	}
	quote, _ := foreignEvidence(cert)
	return quote
}
