//go:build !wasip1

package eos

// unavailable is the code of ErrUnavailable.
const unavailable = -6

func resultRead([]byte) int32                         { return unavailable }
func reply(string) int32                              { return unavailable }
func fail(string) int32                               { return unavailable }
func log(int32, string) int32                         { return unavailable }
func kvGet(string) int32                              { return unavailable }
func kvPut(string, string) int32                      { return unavailable }
func kvDelete(string) int32                           { return unavailable }
func kvList(string, string, int32) int32              { return unavailable }
func digest(int32, string) int32                      { return unavailable }
func keyGenerate(int32, string) int32                 { return unavailable }
func keyImport(int32, string, string) int32           { return unavailable }
func keyExists(string) int32                          { return unavailable }
func keyDelete(string) int32                          { return unavailable }
func keyPublic(string) int32                          { return unavailable }
func encrypt(string, string, string, string) int32    { return unavailable }
func decrypt(string, string, string, string) int32    { return unavailable }
func sign(string, string) int32                       { return unavailable }
func verify(string, string, string) int32             { return unavailable }
func hmac(int32, string, string) int32                { return unavailable }
func hmacVerify(int32, string, string, string) int32  { return unavailable }
func random([]byte) int32                             { return unavailable }
func httpsFetch(string, string, string, string) int32 { return unavailable }
func httpsStatus() int32                              { return unavailable }
func httpsHeaders() int32                             { return unavailable }
func sealKey() int32                                  { return unavailable }
func caller() int32                                   { return unavailable }
func attestationSet(int32, string) int32              { return unavailable }
