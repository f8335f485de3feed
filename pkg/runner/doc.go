// Package runner loads an image into a platform and makes it an enclave. What
// the enclave then says to the host is the matter of the packages beside it:
// edp speaks the Fortanix ABI.
package runner
