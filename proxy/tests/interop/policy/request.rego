# The policy of the interop test: a group grants tools, and some argument values are refused.
package portcullis.request

# Methods that concern no tool. The list of tools is cut down by `visible`.
protocol_methods := {
	"initialize",
	"notifications/cancelled",
	"notifications/initialized",
	"notifications/progress",
	"notifications/roots/list_changed",
	"ping",
	"response/ping",
	"server/discover",
	"tools/list",
}

granted if {
	some group in input.subject.groups
	input.request.tool in data.grants[group]
}

value_refused if {
	some value in input.request.arguments
	value in data.refused_values
}

default visible := false

visible if granted

decision := {
	"allow": true,
	"rule": "protocol",
	"reason": "the method concerns no tool",
	"obligations": {},
} if {
	input.request.method in protocol_methods
} else := {
	"allow": true,
	"rule": "tool-granted",
	"reason": "a group of the subject permits the tool",
	"obligations": {"redact": object.get(data.redact, input.request.tool, [])},
} if {
	input.request.method == "tools/call"
	granted
	not value_refused
} else := {
	"allow": false,
	"rule": "default-deny",
	"reason": "no rule allows the call",
	"obligations": {},
}
