variable "name" {
  description = "The beginning of every name, such as shop-eu."
  type        = string
}

variable "key_arn" {
  description = "The key that encrypts messages."
  type        = string
}
