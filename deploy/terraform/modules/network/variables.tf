variable "name" {
  description = "The beginning of every name, such as shop-eu."
  type        = string
}

variable "cidr" {
  description = "The addresses of the network, a /16. Those of two regions must not overlap: they are joined."
  type        = string

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && endswith(var.cidr, "/16")
    error_message = "The network must be a /16, such as 10.40.0.0/16."
  }
}

variable "zones" {
  description = "Three zones by name. A zone that is new must not move subnets, so they are not asked for."
  type        = list(string)

  validation {
    condition     = length(var.zones) == 3
    error_message = "The chart spreads each service over three zones."
  }
}

variable "logs_key_arn" {
  description = "The key that encrypts logs."
  type        = string
}
