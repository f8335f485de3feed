package microcode

import (
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgx/cmac"
)

// EReport does EREPORT (SDM 40.4) in enclave e: a REPORT for the enclave that
// ti names, with data as REPORTDATA. The MAC is AES-CMAC over the body under
// the report key that the target gets from EGETKEY with the report's KEYID.
// The error is a *Fault.
func EReport(dev *Device, e *Enclave, ti *sgx.TargetInfo, data *[sgx.ReportDataSize]byte) (sgx.Report, error) {
	if !e.initialised() {
		return sgx.Report{}, gp("EREPORT", "the enclave is not initialised")
	}
	s := &e.secs
	r := sgx.Report{
		Body: sgx.ReportBody{
			CPUSVN:        dev.cpuSVN,
			MiscSelect:    s.MiscSelect,
			CETAttributes: s.CETAttributes,
			ISVExtProdID:  e.isvExtProdID,
			Attributes:    s.Attributes,
			MREnclave:     s.MREnclave,
			MRSigner:      s.MRSigner,
			ConfigID:      s.ConfigID,
			ISVProdID:     s.ISVProdID,
			ISVSVN:        s.ISVSVN,
			ConfigSVN:     s.ConfigSVN,
			ISVFamilyID:   e.isvFamilyID,
			ReportData:    *data,
		},
		KeyID: dev.secrets().reportKeyID,
	}
	key := dev.reportKey(ti, r.KeyID)
	body, _ := r.Body.AppendBinary(nil)
	r.MAC = cmac.Sum(key, body)
	return r, nil
}

// reportKey derives the report key of the enclave that ti names: EREPORT does
// it for any target, EGETKEY for the enclave that asks.
func (d *Device) reportKey(ti *sgx.TargetInfo, keyID [32]byte) [16]byte {
	return d.derive(&keyDependencies{
		keyName:       sgx.KeyReport,
		ownerEpoch:    d.ownerEpoch,
		attributes:    ti.Attributes,
		mrEnclave:     ti.MREnclave,
		keyID:         keyID,
		sealFuses:     d.secrets().sealFuses,
		cpuSVN:        d.cpuSVN,
		miscSelect:    ti.MiscSelect,
		cetAttributes: ti.CETAttributes,
		configID:      ti.ConfigID,
		configSVN:     ti.ConfigSVN,
	})
}
