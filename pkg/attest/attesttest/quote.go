package attesttest

import (
	"encoding/binary"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/issue"
)

var le = binary.LittleEndian

// The offsets in a quote of version 3 by New.
const (
	versionOff     = 0
	keyTypeOff     = 2
	teeOff         = 4
	userDataOff    = 28
	bodyOff        = 48
	mrEnclaveOff   = bodyOff + 64
	reportDataOff  = bodyOff + 320
	sigLenOff      = 432
	signatureOff   = 436
	keyOff         = 500
	qeReportOff    = 564
	qeSignatureOff = 948
	authLenOff     = 1012
	authOff        = 1014
	certTypeOff    = authOff + 32
	certLenOff     = certTypeOff + 2
)

// The same in a quote of version 4 of a TD.
const (
	tdSigLenOff = bodyOff + issue.TDBodySize
	tdOuterType = tdSigLenOff + 4 + 128
	tdOuterLen  = tdOuterType + 2
)

// edit changes the quote after it was signed.
func edit(f func(q []byte) []byte) func(*Platform, *Vector) {
	return func(_ *Platform, v *Vector) { v.Quote = f(v.Quote) }
}

// set16 and set32 overwrite a number, flip changes a bit.
func set16(off int, n uint16) func(*Platform, *Vector) {
	return edit(func(q []byte) []byte { le.PutUint16(q[off:], n); return q })
}

func add32(off, n int) func(*Platform, *Vector) {
	return edit(func(q []byte) []byte { le.PutUint32(q[off:], le.Uint32(q[off:])+uint32(n)); return q })
}

func flip(off int) func(*Platform, *Vector) {
	return edit(func(q []byte) []byte { q[off] ^= 1; return q })
}

// quoteRecipes are bytes that are no quote.
func quoteRecipes() []recipe {
	list := []recipe{
		{name: "quote/empty", why: "no bytes", after: edit(func([]byte) []byte { return nil })},
		{name: "quote/half-a-header", why: "47 bytes", after: edit(func(q []byte) []byte { return q[:47] })},
		{name: "quote/half-a-report", why: "ends within the report", after: edit(func(q []byte) []byte { return q[:bodyOff+100] })},
		{name: "quote/no-signature", why: "ends behind the report", after: edit(func(q []byte) []byte { return q[:sigLenOff] })},
		{name: "quote/last-byte", why: "the last byte is missing", after: edit(func(q []byte) []byte { return q[:len(q)-1] })},
		{name: "quote/version-2", why: "an EPID quote", after: set16(versionOff, 2)},
		{name: "quote/version-5", why: "a version that is not read", after: set16(versionOff, 5)},
		{name: "quote/key-type-p384", why: "an attestation key that is not read", after: set16(keyTypeOff, 3)},
		{name: "quote/key-type-unknown", why: "an attestation key of no known type", after: set16(keyTypeOff, 9)},
		{name: "quote/tee-in-v3", why: "a TDX type in version 3, where the bytes are reserved", after: set16(teeOff, 0x81)},
		{name: "quote/tee-unknown", why: "a TEE of no known type", tdx: true, after: set16(teeOff, 0x82)},
		{name: "quote/version-0", why: "no version", after: set16(versionOff, 0)},
		{name: "quote/version-6", why: "a version that there is not yet", after: set16(versionOff, 6)},
		{name: "quote/reserved-in-v3", why: "a reserved byte of the header of version 3 is set", after: flip(teeOff + 3)},
		{name: "quote/tee-unknown-in-v4", why: "an enclave's quote of version 4 with a TEE of no known type", before: func(p *Platform) {
			p.Version, p.Signer.QESVN, p.Signer.PCESVN = 4, 0, 0
		}, after: set16(teeOff, 0x82)},
		{name: "quote/report-reserved", why: "a reserved byte of the report is set", after: flip(bodyOff + 21)},
		{name: "quote/qe-report-reserved", why: "a reserved byte of the QE report is set", after: flip(qeReportOff + 21)},
		{name: "quote/signature-length-short", why: "the signature part says to be one byte shorter", after: add32(sigLenOff, -1)},
		{name: "quote/signature-length-long", why: "the signature part says to be one byte longer", after: add32(sigLenOff, 1)},
		{name: "quote/signature-length-max", why: "the signature part says to have 4 GiB", after: edit(func(q []byte) []byte {
			le.PutUint32(q[sigLenOff:], 0xffffffff)
			return q
		})},
		{name: "quote/authentication-length", why: "the authentication data goes beyond the quote", after: set16(authLenOff, 0xffff)},
		{name: "quote/chain-length-short", why: "the chain says to be one byte shorter", after: add32(certLenOff, -1)},
		{name: "quote/chain-length-long", why: "the chain says to be one byte longer", after: add32(certLenOff, 1)},
		{name: "quote/byte-behind", why: "a byte that is not zero is behind the quote", after: edit(func(q []byte) []byte { return append(q, 1) })},
		{name: "quote/version-1", why: "an Open Enclave report with its header", after: edit(func(q []byte) []byte {
			h := make([]byte, 16, 16+len(q))
			h[0], h[4] = 1, 2
			le.PutUint64(h[8:], uint64(len(q)))
			return append(h, q...)
		})},
		{name: "quote/endless-zeros", why: "more zeros behind the quote than a buffer has", after: edit(func(q []byte) []byte { return append(q, make([]byte, 1<<20)...) })},
		{name: "quote/v4-outer-type", why: "version 4 without the QE report's certification data", tdx: true, after: set16(tdOuterType, issue.CertChain)},
		{name: "quote/v4-outer-length", why: "lengths in version 4 that do not go together", tdx: true, after: add32(tdOuterLen, -1)},
		{name: "quote/half-a-td", why: "ends within the TD report", tdx: true, after: edit(func(q []byte) []byte { return q[:bodyOff+384+10] })},
	}
	for i := range list {
		list[i].step = attest.StepQuote
	}
	return list
}

// signatureRecipes break the way from the PCK to the report.
func signatureRecipes() []recipe {
	const qe, bound, sig = attest.StepQEReport, attest.StepQEBinding, attest.StepQuoteSignature
	return []recipe{
		{name: "qe-report/isvsvn", step: qe, why: "the QE's ISVSVN was raised behind the signature", after: flip(qeReportOff + 258)},
		{name: "qe-report/cpusvn", step: qe, why: "the QE's CPUSVN was changed behind the signature", after: flip(qeReportOff)},
		{name: "qe-report/signature", step: qe, why: "a bit of the signature is wrong", after: flip(qeSignatureOff + 63)},
		{name: "qe-report/signature-zero", step: qe, why: "the signature is zero", after: edit(func(q []byte) []byte {
			clear(q[qeSignatureOff:authLenOff])
			return q
		})},
		{name: "qe-report/other-pck", step: qe, why: "signed by the key of another machine", before: func(p *Platform) {
			p.Signer.PCK = must(issue.NewKey())(p.t)
		}},
		{name: "qe-report/chain-of-another", step: qe, why: "the chain that comes with the collateral is another machine's", before: ppid,
			after: func(p *Platform, v *Vector) {
				v.Collateral.PCKChain = p.Vendor.PCKChain(must(p.Vendor.PCK(&p.Extensions))(p.t))
			}},
		{name: "qe-report/by-attestation-key", step: qe, why: "signed by the attestation key itself", before: func(p *Platform) {
			p.Signer.PCK = p.Signer.AttestationKey
		}},
		{name: "qe-binding/attestation-key", step: bound, why: "an attestation key that the QE has not vouched for, which signed the quote", before: func(p *Platform) {
			p.Signer.AttestationKey = must(issue.NewKey())(p.t)
		}},
		{name: "qe-binding/authentication-data", step: bound, why: "other authentication data", after: flip(authOff)},
		{name: "qe-binding/no-authentication-data", step: bound, why: "the authentication data is left out", before: func(p *Platform) { p.Signer.AuthData = nil }},
		{name: "qe-binding/second-half", step: bound, why: "the second half of the QE's report data is not zero", before: func(p *Platform) {
			p.Signer.QEReport.ReportData[63] = 1
		}},
		{name: "qe-binding/zero", step: bound, why: "the QE has vouched for nothing", before: func(p *Platform) {
			p.Signer.QEReport.ReportData = [64]byte{}
		}},
		{name: "quote-signature/report-data", step: sig, why: "the report data was exchanged", after: flip(reportDataOff)},
		{name: "quote-signature/report-data-end", step: sig, why: "the last byte of the report data was changed", after: flip(reportDataOff + 63)},
		{name: "quote-signature/mrenclave", step: sig, why: "MRENCLAVE was changed", after: flip(mrEnclaveOff)},
		{name: "quote-signature/debug-cleared", step: sig, why: "a debug enclave that denies it", before: func(p *Platform) {
			p.Report.Attributes.Flags |= 2
		}, after: edit(func(q []byte) []byte { q[bodyOff+48] &^= 2; return q })},
		{name: "quote-signature/user-data", step: sig, why: "the header was changed", after: flip(userDataOff)},
		{name: "quote-signature/signature", step: sig, why: "a bit of the signature is wrong", after: flip(signatureOff + 63)},
		{name: "quote-signature/zero", step: sig, why: "the signature is zero", after: edit(func(q []byte) []byte {
			clear(q[signatureOff:keyOff])
			return q
		})},
		{name: "quote-signature/other-quote", step: sig, why: "the signature is that of another quote", after: func(p *Platform, v *Vector) {
			p.Report.ReportData[0] ^= 1
			copy(v.Quote[signatureOff:keyOff], p.Mint().Quote[signatureOff:keyOff])
		}},
		{name: "quote-signature/key-not-on-curve", step: sig, why: "the attestation key, vouched for, is no point of the curve", before: func(p *Platform) {
			p.Signer.RawKey = make([]byte, 64)
			p.Signer.RawKey[0] = 1
			p.Signer.QEReport.ReportData = issue.BindingOf(p.Signer.RawKey, p.Signer.AuthData)
		}},
		{name: "quote-signature/tdx-rtmr", step: sig, tdx: true, why: "an RTMR was changed", after: flip(bodyOff + 328)},
	}
}
