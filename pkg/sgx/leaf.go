package sgx

import "fmt"

// Leaf is the number in EAX that selects an ENCLU function (SDM 40.4).
type Leaf uint32

// The leaves of ENCLU.
const (
	LeafEREPORT     Leaf = 0
	LeafEGETKEY     Leaf = 1
	LeafEENTER      Leaf = 2
	LeafERESUME     Leaf = 3
	LeafEEXIT       Leaf = 4
	LeafEACCEPT     Leaf = 5
	LeafEMODPE      Leaf = 6
	LeafEACCEPTCOPY Leaf = 7
)

// ErrorCode is a value that an SGX instruction leaves in RAX (SDM 40.1.3).
type ErrorCode uint32

// The error codes of EINIT, EGETKEY and the rest.
const (
	Success            ErrorCode = 0
	InvalidSigStruct   ErrorCode = 1
	InvalidAttribute   ErrorCode = 2
	InvalidMeasurement ErrorCode = 4
	InvalidSignature   ErrorCode = 8
	InvalidEInitToken  ErrorCode = 16
	InvalidCPUSVN      ErrorCode = 32
	InvalidISVSVN      ErrorCode = 64
	UnmaskedEvent      ErrorCode = 128
	InvalidKeyName     ErrorCode = 256
)

var errorNames = map[ErrorCode]string{
	InvalidSigStruct: "SGX_INVALID_SIG_STRUCT", InvalidAttribute: "SGX_INVALID_ATTRIBUTE",
	InvalidMeasurement: "SGX_INVALID_MEASUREMENT", InvalidSignature: "SGX_INVALID_SIGNATURE",
	InvalidEInitToken: "SGX_INVALID_EINITTOKEN", InvalidCPUSVN: "SGX_INVALID_CPUSVN",
	InvalidISVSVN: "SGX_INVALID_ISVSVN", UnmaskedEvent: "SGX_UNMASKED_EVENT", InvalidKeyName: "SGX_INVALID_KEYNAME",
}

// Error returns the SDM's name of the code.
func (e ErrorCode) Error() string {
	if n, ok := errorNames[e]; ok {
		return n
	}
	return fmt.Sprintf("SGX error %d", uint32(e))
}
