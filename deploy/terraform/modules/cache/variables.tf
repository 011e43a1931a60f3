variable "name" {
  description = "The name of the group, such as shop-eu."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "A subnet in each zone."
  type        = list(string)
}

variable "client_cidrs" {
  description = "Who may connect."
  type        = list(string)
}

variable "node_type" {
  description = "What it runs on."
  type        = string
}

variable "key_arn" {
  description = "The key that encrypts data at rest."
  type        = string
}
