package attesttest

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/issue"
)

// Service answers as a PCCS does, API version 4, with c for whatever platform it is
// asked about. The CRL of the root is at /root.der as well, as Intel has it
// elsewhere.
func Service(c *attest.Collateral) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := func(header string, chain, body []byte) {
			if header != "" {
				w.Header().Set(header, url.PathEscape(string(chain)))
			}
			_, _ = w.Write(body)
		}
		switch path := r.URL.RequestURI(); {
		case strings.Contains(path, "/certification/v4/tcb?fmspc="):
			answer("TCB-Info-Issuer-Chain", c.TCBInfoChain, issue.Wrap(issue.MemberTCBInfo, c.TCBInfo.Body, c.TCBInfo.Signature))
		case strings.HasSuffix(path, "/certification/v4/qe/identity"):
			answer("SGX-Enclave-Identity-Issuer-Chain", c.QEIdentityChain, issue.Wrap(issue.MemberQEIdentity, c.QEIdentity.Body, c.QEIdentity.Signature))
		case strings.HasPrefix(path, "/sgx/certification/v4/pckcrl?ca="):
			answer("SGX-PCK-CRL-Issuer-Chain", c.PCKCRLChain, c.PCKCRL)
		case path == "/sgx/certification/v4/rootcacrl":
			answer("", nil, []byte(hex.EncodeToString(c.RootCRL)))
		case path == "/root.der":
			answer("", nil, c.RootCRL)
		default:
			http.NotFound(w, r)
		}
	})
}
