# The policy of the interop test, second half: what the request's decision asked to redact is all there is to do.
package portcullis.response

decision := {
	"allow": true,
	"rule": "answer",
	"reason": "nothing more in the answer is restricted",
	"obligations": {},
}
