# The region that stands by, with a Postgres that follows.

terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }

  # terraform init -backend-config=bucket=...: the state of each environment is apart, locked and encrypted.
  backend "s3" {
    key          = "shop/us.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = local.aws_region

  default_tags {
    tags = {
      environment = "us"
      system      = "shop"
    }
  }
}

locals {
  aws_region = "us-east-1"
}

module "region" {
  source = "../../modules/region"

  name                = "shop-us"
  aws_region          = local.aws_region
  cidr                = "10.50.0.0/16"
  zones               = ["us-east-1a", "us-east-1b", "us-east-1c"]
  kubernetes_version  = "1.34"
  node_type           = "m7i.xlarge"
  nodes_min           = 3
  nodes_max           = 12
  database_class      = "db.m7g.large"
  database_gb         = 100
  database_source_arn = var.database_source_arn
  cache_type          = "cache.t4g.medium"
  zone_id             = var.zone_id
  public_host         = "shop.example.com"
  region_host         = "us.shop.example.com"
  load_balancer_host  = var.load_balancer_host
}
